// The assembly part of the start path, in the order in which it runs:
//
//     the loader, or libc's start code
//       _rt0_amd64_lib		in .init_array; returns to it
//         libpreinit
//         libstart		makes the thread, by the host's hook if any
//     the new thread, m0's
//       _rt0_amd64_lib_go
//         rt0_go		g0, CPUID, TLS, m0
//           check, args, osinit, schedinit, newproc, mstart
//
// A program that is entered at _rt0_amd64_linux (entry_amd64.S) comes to
// rt0_go on its main thread; its _rt0_amd64_lib makes no thread.
//
// The hooks are read through the global offset table, so a program replaces a
// hook by defining a variable of the same name.

#include "offsets.h"
#include "macros.h"

	// Before the constructors of a program that is linked statically.
	.section .init_array.00101,"aw",@init_array
	.balign	8
	.quad	_rt0_amd64_lib

	// The last destructor of a program that is linked statically.
	.section .fini_array.00101,"aw",@fini_array
	.balign	8
	.quad	libexit

	.bss
	.balign	8
_rt0_amd64_lib_argc:
	.zero	8
_rt0_amd64_lib_argv:
	.zero	8

// EDX of CPUID's leaf 0x80000007, or 0: tells cpuinit about the time stamp
// counter.
	.globl	runtime_processorPower
	.hidden	runtime_processorPower
	.type	runtime_processorPower, @object
	.size	runtime_processorPower, 4
	.balign	4
runtime_processorPower:
	.zero	4

	.section .data.rel.ro,"aw",@progbits
	.balign	8
runtime_mainPC:
	.quad	runtime_main

	.text

// Reports the beginning of a stage to boot/inittrace.rs. Changes all registers
// that are not callee-saved.
.macro mark name
	.pushsection .rodata
9:	.asciz	"\name"
	.popsection
	lea	rdi, 9b[rip]
	call	inittrace_stage
.endm

// Sets reg to the host's function in a hook, or 0.
.macro hook reg, name
	mov	\reg, qword ptr \name@GOTPCREL[rip]
	mov	\reg, [\reg]
.endm

// _rt0_amd64_lib(argc: c_int, argv: *const *const c_char)
//
// The constructor. It waits for nothing, because the loader's lock is held.
// musl passes no arguments; args finds them later.
//
//     rbp -> rbp of the caller, return address
//     [rbp - 8] rbx, [rbp - 16] r12, … [rbp - 40] r15
//
// In:  edi = argc, rsi = argv, where the loader passes them.
func _rt0_amd64_lib
	// No byte, but no linker drops the table that debuggers read.
	.reloc	., R_X86_64_NONE, gmp_debug_layout
	save	rbp
	mov	rbp, rsp
	.cfi_def_cfa_register rbp
	sub	rsp, 40
	and	rsp, -16
	mov	[rbp - 8], rbx
	mov	[rbp - 16], r12
	mov	[rbp - 24], r13
	mov	[rbp - 32], r14
	mov	[rbp - 40], r15
	.cfi_offset rbx, -24
	.cfi_offset r12, -32
	.cfi_offset r13, -40
	.cfi_offset r14, -48
	.cfi_offset r15, -56
	mov	_rt0_amd64_lib_argc[rip], rdi
	mov	_rt0_amd64_lib_argv[rip], rsi
	mark	_rt0_amd64_lib
	mov	rdi, _rt0_amd64_lib_argc[rip]
	mov	rsi, _rt0_amd64_lib_argv[rip]
	call	libpreinit		// synchronous initialisation
	test	eax, eax
	jz	1f			// not now
	call	libstart
1:
	mov	r15, [rbp - 40]
	mov	r14, [rbp - 32]
	mov	r13, [rbp - 24]
	mov	r12, [rbp - 16]
	mov	rbx, [rbp - 8]
	.cfi_restore r15
	.cfi_restore r14
	.cfi_restore r13
	.cfi_restore r12
	.cfi_restore rbx
	mov	rsp, rbp
	pop	rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
endfunc _rt0_amd64_lib
	// No byte, but no linker drops the table that debuggers read.
	.reloc	., R_X86_64_NONE, gmp_debug_layout

// libstart()
//
// Makes the thread that runs _rt0_amd64_lib_go, and calls libstarted with the
// result: 0 or an errno.
func libstart
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	hook	rax, _cgo_sys_thread_create
	test	rax, rax
	jz	1f
	lea	rdi, _rt0_amd64_lib_go[rip]
	xor	esi, esi
	call	rax
	jmp	2f
1:
	mark	newosproc0
	mov	edi, 0x800000		// bytes of stack
	lea	rsi, _rt0_amd64_lib_go[rip]
	call	newosproc0
2:
	mov	edi, eax
	call	libstarted
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	ret
endfunc libstart

// _rt0_amd64_lib_go(arg: *mut c_void) -> *mut c_void
//
// The first function of m0's thread.
func _rt0_amd64_lib_go
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	mark	_rt0_amd64_lib_go
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	mov	rdi, _rt0_amd64_lib_argc[rip]
	mov	rsi, _rt0_amd64_lib_argv[rip]
	jmp	rt0_go
endfunc _rt0_amd64_lib_go

// rt0_go(argc: c_int, argv: *const *const c_char) -> *mut c_void
//
// Makes this thread m0 and its stack g0's, initialises, and runs the
// scheduler on it. Returns null where m0 ends with a locked goroutine.
//
//     rbp -> rbp of the caller, return address
//     rsp -> two free words, argc, argv; rsp is a multiple of 16
func rt0_go
	save	rbp
	mov	rbp, rsp
	.cfi_def_cfa_register rbp
	sub	rsp, 32
	and	rsp, -16
	mov	[rsp + 16], rdi
	mov	[rsp + 24], rsi
	mark	rt0_go

	// g0 out of this thread's stack: its upper part, for now.
	lea	rdi, runtime_g0[rip]
	lea	rax, [rsp - 64*1024 + 104]
	mov	[rdi + G_STACKGUARD0], rax
	mov	[rdi + G_STACKGUARD1], rax
	mov	[rdi + G_STACK_LO], rax
	mov	[rdi + G_STACK_HI], rsp

	// The processor. CPUID gives another leaf's data for one it lacks.
	mov	r8, rbx
	.cfi_register rbx, r8
	mov	eax, 0x80000000
	cpuid
	cmp	eax, 0x80000007
	jb	.Lnocpuinfo
	mov	eax, 0x80000007
	cpuid
	mov	runtime_processorPower[rip], edx
.Lnocpuinfo:
	mov	rbx, r8
	.cfi_restore rbx

	// _cgo_init(g0, setg, tls: this thread's word of g, tlsbase: its fs)
	hook	rax, _cgo_init
	test	rax, rax
	jz	.Lneedtls
	lea	rsi, setg_gcc[rip]
	mov	rcx, fs:0
	get_tls	rdx
	add	rdx, rcx
	mov	runtime_m0[rip + M_TLS], rdx
	call	rax

	// The hook may have moved the stack's bounds.
	lea	rcx, runtime_g0[rip]
	mov	rax, [rcx + G_STACK_LO]
	add	rax, STACK_GUARD
	mov	[rcx + G_STACKGUARD0], rax
	mov	[rcx + G_STACKGUARD1], rax
	jmp	.Lok

.Lneedtls:
	mark	settls
	lea	rdi, runtime_m0[rip + M_TLS]
	call	settls

	// A store through fs must be seen through the address.
	get_tls	rax
	mov	qword ptr fs:[rax], 0x123
	mov	rax, runtime_m0[rip + M_TLS]
	cmp	qword ptr [rax], 0x123
	je	.Lok
	call	abort@PLT
.Lok:
	get_tls	rax
	lea	rcx, runtime_g0[rip]
	mov	fs:[rax], rcx		// from here on g is g0
	lea	rax, runtime_m0[rip]
	mov	[rax + M_G0], rcx
	mov	[rcx + G_M], rax

	cld				// as the C ABI wants it
	mark	check
	call	check
	mark	args
	mov	edi, [rsp + 16]
	mov	rsi, [rsp + 24]
	call	args
	mark	osinit
	call	osinit
	mark	schedinit
	call	schedinit
	test	eax, eax
	jne	.Lfailed

	mark	newproc
	mov	rdi, runtime_mainPC[rip]
	xor	esi, esi
	call	newproc			// the main goroutine
	test	eax, eax
	jne	.Lfailed
	mark	mstart
	call	mstart			// this M; returns when it ends, which
					// on the main thread it does not
	jmp	.Lended
.Lfailed:				// for want of memory
	mov	edi, eax
	call	start_failed		// on the main thread it does not return
.Lended:
	call	m0_ended
	xor	eax, eax		// what the thread returns
	mov	rsp, rbp
	pop	rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
endfunc rt0_go

// settls(tls: *mut usize)
//
// Records the address of this thread's word of g. libc has set fs already,
// and a library leaves fs alone.
func settls
	get_tls	rax
	add	rax, fs:0
	mov	[rdi], rax
	ret
endfunc settls

// setg_gcc(g: *const G)
//
// Sets this thread's g; _cgo_init gets its address.
func setg_gcc
	get_tls	rax
	mov	fs:[rax], rdi
	ret
endfunc setg_gcc

// rt0_entry() -> usize
//
// The address of _rt0_amd64_linux, or 0 if the program does not have it.
func rt0_entry
	mov	rax, qword ptr _rt0_amd64_linux@GOTPCREL[rip]
	ret
endfunc rt0_entry
	.weak	_rt0_amd64_linux

// The stages have plain names, so that a debugger finds them. A hidden
// reference keeps the linker from exporting them.
.irp stage, libpreinit, libexit, libstarted, newosproc0, inittrace_stage, check, args, \
	osinit, schedinit, stackinit, mallocinit, fastrandinit, cpuinit, gcinit, \
	sigsave, goargs, goenvs, parsedebugvars, procresize, newproc, mstart1, \
	minit, start_failed, m0_ended, schedule, runtime_main, runtime_inittasks, gcenable, main_main, \
	startTemplateThread, doInit, \
	runtime_m0, runtime_g0, runtime_argc, runtime_argv, gmprt_run_steps
	.globl	\stage
	.hidden	\stage
.endr

	.section .note.GNU-stack,"",@progbits
