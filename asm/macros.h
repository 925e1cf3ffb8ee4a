/* Shared by all assembly files of gmprt: Intel syntax, functions with CFI,
 * pushes and pops that keep the CFI true, and access to g. */

	.intel_syntax noprefix

/* Begins a function that only this library sees. */
.macro func name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.balign	16
\name:
	.cfi_startproc
.endm

.macro endfunc name
	.cfi_endproc
	.size	\name, . - \name
.endm

.macro save reg
	push	\reg
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset \reg, 0
.endm

.macro restore reg
	pop	\reg
	.cfi_adjust_cfa_offset -8
	.cfi_restore \reg
.endm

/* Sets reg to the offset of g from fs. */
.macro get_tls reg
	mov	\reg, qword ptr gmprt_tls_g@gottpoff[rip]
.endm
