// The stack switches: gogo, gswitch, mcall, systemstack, and where a stack
// begins: mstart for g0, gostart for a goroutine.
//
// Every suspended context, g0's base included, is this one frame, and
// g.sched.sp points at it:
//
//     sp -> MXCSR (4 bytes), x87 control word (2), 2 free,
//           r15, r14, r13, r12, rbx, rbp, resume pc
//
// It is what the C ABI calls callee-saved: six registers, the control bits of
// MXCSR, and the x87 control word. Since the frame is the same on the stack
// that is left and on the one that is entered, one set of CFI holds on both
// sides of "mov rsp": unwinders and gdb walk from any instruction, and from a
// g0 into the code that called mstart.
//
// The control words are the processor's, so they stay in force over a switch
// until something loads others. To load them is dear, to read them is not: a
// switch reads what is in force, compares it with what the frame has that it
// enters, and loads only what differs. A goroutine begins with the ABI's own
// values, wherever it runs. g0 and what it calls, a host's unlockf among it,
// run with those of the goroutine that was left. The status bits of MXCSR are
// the caller's to save: they make no difference, and follow nobody.
//
// g, the running goroutine, is one word of thread-local storage, gmprt_tls_g.
// A switch writes it; nothing keeps its address over a switch.

#include "offsets.h"
#include "macros.h"

	.section .tbss,"awT",@nobits
	.globl	gmprt_tls_g
	.hidden	gmprt_tls_g
	.type	gmprt_tls_g, @object
	.size	gmprt_tls_g, 8
	.balign	8
gmprt_tls_g:
	.zero	8

	.text

// Pushes the frame above, but for the resume pc, which is our return address.
.macro suspend
	save	rbp
	save	rbx
	save	r12
	save	r13
	save	r14
	save	r15
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	stmxcsr	[rsp + FRAME_MXCSR]
	fnstcw	[rsp + FRAME_FPUCW]
.endm

// Notes the control words in force, which suspend has put at rsp, in eax and
// ecx.
.macro note_control
	mov	eax, [rsp + FRAME_MXCSR]
	movzx	ecx, word ptr [rsp + FRAME_FPUCW]
.endm

// The same without a frame: by the red zone below rsp.
.macro read_control
	stmxcsr	[rsp - 8 + FRAME_MXCSR]
	fnstcw	[rsp - 8 + FRAME_FPUCW]
	mov	eax, [rsp - 8 + FRAME_MXCSR]
	movzx	ecx, word ptr [rsp - 8 + FRAME_FPUCW]
.endm

// Goes on at 9 if the control words of the frame at rsp are those in eax and
// ecx; else to 8. Changes eax.
.macro compare_control
	xor	eax, [rsp + FRAME_MXCSR]
	test	eax, MXCSR_CONTROL
	jne	8f
	cmp	cx, [rsp + FRAME_FPUCW]
	jne	8f
9:	.cfi_remember_state
.endm

// After the function's end: puts the control words of the frame at rsp in
// force, back to 9. No stored exception of the one that was left may be raised
// by what the one that comes has unmasked, hence fnclex.
.macro other_control
	.cfi_restore_state
8:	ldmxcsr	[rsp + FRAME_MXCSR]
	fnclex
	fldcw	[rsp + FRAME_FPUCW]
	jmp	9b
.endm

// Takes the registers from the frame at rsp; the resume pc is left.
.macro take_registers
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	restore	r15
	restore	r14
	restore	r13
	restore	r12
	restore	rbx
	restore	rbp
.endm

// Leaves through the frame at rsp.
.macro resume
	take_registers
	ret
.endm

// From here on rsp is at such a frame, from whatever it was at before.
.macro at_frame
	.cfi_def_cfa_offset 64
	.cfi_rel_offset r15, 8
	.cfi_rel_offset r14, 16
	.cfi_rel_offset r13, 24
	.cfi_rel_offset r12, 32
	.cfi_rel_offset rbx, 40
	.cfi_rel_offset rbp, 48
.endm

// gswitch(from: *mut usize, to: usize, g: *const G)
//
// Suspends the running goroutine into *from (its sched.sp) and resumes g,
// suspended at sp = to. Returns when somebody resumes the first one again,
// maybe on another thread.
//
// In:  rdi = from, rsi = to, rdx = g.
func gswitch
	suspend
	mov	[rdi], rsp
	get_tls	rax
	mov	fs:[rax], rdx
	note_control
	mov	rsp, rsi		// from here on we are on g's stack
	compare_control
	resume
	other_control
endfunc gswitch

// gogo(to: usize, g: *const G) -> !
//
// Resumes g, suspended at sp = to, and abandons the current stack.
//
// In:  rdi = to, rsi = g.
func gogo
	get_tls	rax
	mov	fs:[rax], rsi
	read_control
	mov	rsp, rdi		// from here on we are on g's stack
	at_frame
	compare_control
	resume
	other_control
endfunc gogo

// mcall(f: extern "C" fn(*const G) -> !)
//
// Suspends the running goroutine and calls f(g) on g0, from g0's base: what
// g0 ran before is abandoned. Returns when somebody resumes the goroutine.
//
// What is called there of the host's is an unlockf, whose exceptions end here.
//
// In:  rdi = f. g is not g0.
func mcall
	.cfi_personality 0x1b, gmprt_personality_unlockf
	suspend
	get_tls	rax
	mov	rdx, fs:[rax]
	mov	[rdx + G_SCHED_SP], rsp
	mov	rcx, [rdx + G_M]
	mov	rcx, [rcx + M_G0]
	mov	fs:[rax], rcx
	mov	rsp, [rcx + G_SCHED_SP]	// from here on we are on g0
	mov	rax, rdi
	mov	rdi, rdx
	call	rax			// its base is aligned as for a call
	ud2
endfunc mcall

// systemstack(f: extern "C" fn(*mut c_void), arg: *mut c_void)
//
// Calls f(arg) on g0 and comes back; on g0 it is a plain call. f must not
// park.
//
//     rbp -> rbp of the caller, return address
//     [rbp - 8] = rbx of the caller; rbx = g while f runs
func systemstack
	save	rbp
	mov	rbp, rsp
	.cfi_def_cfa_register rbp
	push	rbx
	.cfi_offset rbx, -24
	get_tls	rax
	mov	rbx, fs:[rax]
	mov	rcx, [rbx + G_M]
	mov	rcx, [rcx + M_G0]
	cmp	rcx, rbx
	je	1f
	mov	fs:[rax], rcx
	mov	rsp, [rcx + G_SCHED_SP]	// from here on we are on g0
1:
	and	rsp, -16
	mov	rax, rdi
	mov	rdi, rsi
	call	rax
	get_tls	rax
	mov	fs:[rax], rbx
	lea	rsp, [rbp - 8]		// from here on we are on g's stack
	pop	rbx
	.cfi_restore rbx
	pop	rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
endfunc systemstack

// callhost(f: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
//          a: *mut c_void, b: *mut c_void) -> c_int
//
// Calls f(a, b), an unlockf on a host thread's own stack: an exception that
// leaves it ends here, as one that leaves it on g0 ends at mcall.
func callhost
	.cfi_personality 0x1b, gmprt_personality_unlockf
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	mov	rax, rdi
	mov	rdi, rsi
	mov	rsi, rdx
	call	rax
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	ret
endfunc callhost

// calllast(f: extern "C" fn(*mut c_void), arg: *mut c_void)
//
// Calls f(arg), which was put off until the end: an exception that leaves it
// was not caught, whoever called gmp_exit.
func calllast
	.cfi_personality 0x1b, gmprt_personality_last
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	mov	rax, rdi
	mov	rdi, rsi
	call	rax
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	ret
endfunc calllast

// mstart()
//
// Runs this M: marks g0's base and calls mstart1, which schedules until the
// M ends; mexit then resumes the base, so that mstart returns.
//
// In:  g is this M's g0, on a thread that may have inherited anybody's control
//      words.
func mstart
	ldmxcsr	first_control[rip + FRAME_MXCSR]
	fldcw	first_control[rip + FRAME_FPUCW]
	lea	rdi, mstart1[rip]
	jmp	g0call
endfunc mstart

// g0call(f: extern "C" fn())
//
// Makes this point g0's base and calls f. Returns when f does, or when
// somebody resumes the base with gogo(g0.sched.sp, g0).
//
// In:  rdi = f. g is g0.
func g0call
	suspend
	get_tls	rax
	mov	rax, fs:[rax]
	mov	[rax + G_SCHED_SP], rsp
	call	rdi
	read_control
	compare_control
	resume
	other_control
endfunc g0call

// gostart
//
// The first frame of every goroutine, entered by a switch into the frame that
// first_frame builds, past its nop: unwinders look a return address up at the
// byte before it. It ends every walk of the stack. An exception that
// nobody caught arrives at its personality, which names the goroutine.
//
// Above GOSTART_SPACE nothing is in use while the goroutine runs, but for its
// own arguments: the next goroutine on this stack is prepared there while
// goexit1 still runs on it.
//
// gostart1() -> (fn in rax, arg in rdx); goexit1() -> !
func gostart
	.cfi_undefined rip
	.cfi_personality 0x1b, gmprt_personality
	nop
	sub	rsp, GOSTART_SPACE
	.cfi_adjust_cfa_offset GOSTART_SPACE
	call	gostart1
	mov	rdi, rdx
	call	rax
	lea	rax, 1f[rip]		// a call that the processor does not
	push	rax			// keep in mind: goexit1 never returns
	.cfi_adjust_cfa_offset 8
	jmp	goexit1
1:
	ud2
endfunc gostart

// goleave(to: usize, g: *const G) -> !
//
// As gogo, for a goroutine that ends. Jumped to, and it jumps on: calls and
// returns stay in pairs, as the processor predicts them, and the goroutine that
// comes finds its own calls to return from.
//
// In:  rdi = to, rsi = g.
func goleave
	.cfi_undefined rip
	get_tls	rax
	mov	fs:[rax], rsi
	read_control
	mov	rsp, rdi		// from here on we are on g's stack
	at_frame
	.cfi_rel_offset rip, 56
	compare_control
	take_registers
	pop	rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register rip, rcx
	jmp	rcx
	other_control
endfunc goleave

// gorestart(sp: usize) -> !
//
// The running goroutine begins at sp = where its first function finds the
// stack pointer, on the stack that we are on. Jumped to, as goleave is.
//
// In:  rdi = sp.
func gorestart
	.cfi_undefined rip
	read_control
	and	eax, MXCSR_CONTROL
	cmp	eax, MXCSR_FIRST
	jne	8f
	cmp	ecx, FPUCW_FIRST
	jne	8f
9:	mov	rsp, rdi
	jmp	gostart + 1		// past its nop, as all come
8:	ldmxcsr	first_control[rip + FRAME_MXCSR]
	fnclex
	fldcw	first_control[rip + FRAME_FPUCW]
	jmp	9b
endfunc gorestart

	.section .rodata
	.balign	8
first_control:
	.long	MXCSR_FIRST
	.short	FPUCW_FIRST
	.short	0
	.text

	.hidden	mstart1
	.hidden	gostart1
	.hidden	goexit1
	.hidden	gmprt_personality
	.hidden	gmprt_personality_unlockf
	.hidden	gmprt_personality_last

	.section .note.GNU-stack,"",@progbits
