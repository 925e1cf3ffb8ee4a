// The stack switches, gogo, gswitch, mcall and systemstack, and the functions
// at the base of a stack: mstart for g0, gostart for a goroutine.
//
// Every suspended context, g0's base included, is this one frame, and
// g.sched.sp points at it:
//
//     sp -> MXCSR (4 bytes), x87 control word (2), 2 free,
//           r15, r14, r13, r12, rbx, rbp, resume pc
//
// The frame holds the callee-saved state of the C ABI: six registers, the
// control bits of MXCSR, and the x87 control word. Since the frame is the same
// on the stack that is left and on the one that is entered, one set of CFI
// holds on both sides of "mov rsp": unwinders and gdb walk from any
// instruction, and from a g0 into the code that called mstart.
//
// The control words belong to the processor and stay in force across a switch
// until something loads others. Loading them is dear, reading them is not. So
// a switch compares the words in force with those of the frame that it enters,
// and loads them only if they differ. A goroutine begins with the ABI's
// values. g0 and the functions it calls, a host's unlockf among them, run with
// the words of the goroutine that was left. The status bits of MXCSR are
// caller-saved, so a switch ignores them.
//
// g, the running goroutine, is one word of thread-local storage, gmprt_tls_g.
// Every switch writes it, and no code keeps its address across a switch.

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

	// The locks of the runtime that this thread holds (base/turnstile.rs).
	.globl	gmprt_tls_held
	.hidden	gmprt_tls_held
	.type	gmprt_tls_held, @object
	.size	gmprt_tls_held, 4
	.balign	4
gmprt_tls_held:
	.zero	4

	.text

// Pushes the frame above. Its resume pc is there already: the return address.
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

// Loads eax and ecx with the control words in force, which suspend has stored
// at rsp.
.macro note_control
	mov	eax, [rsp + FRAME_MXCSR]
	movzx	ecx, word ptr [rsp + FRAME_FPUCW]
.endm

// note_control without a frame: goes through the red zone below rsp.
.macro read_control
	stmxcsr	[rsp - 8 + FRAME_MXCSR]
	fnstcw	[rsp - 8 + FRAME_FPUCW]
	mov	eax, [rsp - 8 + FRAME_MXCSR]
	movzx	ecx, word ptr [rsp - 8 + FRAME_FPUCW]
.endm

// Compares the control words of the frame at rsp with those in eax and ecx:
// equal falls through to 9, different jumps to 8. Changes eax.
.macro compare_control
	xor	eax, [rsp + FRAME_MXCSR]
	test	eax, MXCSR_CONTROL
	jne	8f
	cmp	cx, [rsp + FRAME_FPUCW]
	jne	8f
9:	.cfi_remember_state
.endm

// Stands behind the function's return: loads the control words of the frame at
// rsp and jumps back to 9. fnclex, because the words that are loaded may unmask
// an exception that the previous context left pending.
.macro other_control
	.cfi_restore_state
8:	ldmxcsr	[rsp + FRAME_MXCSR]
	fnclex
	fldcw	[rsp + FRAME_FPUCW]
	jmp	9b
.endm

// Pops the registers of the frame at rsp, all but the resume pc.
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

// Resumes the context of the frame at rsp.
.macro resume
	take_registers
	ret
.endm

// CFI only: from here on rsp points at a frame, whatever it was before.
.macro at_frame
	.cfi_def_cfa_offset FRAME_SIZE
	.cfi_rel_offset r15, FRAME_R15
	.cfi_rel_offset r14, FRAME_R14
	.cfi_rel_offset r13, FRAME_R13
	.cfi_rel_offset r12, FRAME_R12
	.cfi_rel_offset rbx, FRAME_RBX
	.cfi_rel_offset rbp, FRAME_RBP
.endm

// gswitch(from: *mut usize, to: usize, g: *const G)
//
// Suspends the running goroutine into *from (its sched.sp) and resumes g,
// suspended at sp = to. Returns when some thread, maybe another one, resumes
// the first goroutine.
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
// Suspends the running goroutine and calls f(g) on g0, from g0's base: the
// frames that g0 had are abandoned. Returns when a thread resumes the
// goroutine. The host's code may run in f, as an unlockf; its exceptions end
// here.
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
	call	rax			// g0's base is aligned as for a call
	ud2
endfunc mcall

// systemstack(f: extern "C" fn(*mut c_void), arg: *mut c_void)
//
// Calls f(arg) on g0 and returns; on g0 it is a plain call. f must not park.
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

// callon(f: extern "C" fn(*mut c_void), arg: *mut c_void, sp: usize)
//
// Calls f(arg) on the stack below sp and returns. g stays the same, so f must
// not park.
//
//     rbp -> rbp of the caller, return address
func callon
	save	rbp
	mov	rbp, rsp
	.cfi_def_cfa_register rbp
	mov	rsp, rdx		// from here on we are on the other stack
	and	rsp, -16
	mov	rax, rdi
	mov	rdi, rsi
	call	rax
	mov	rsp, rbp		// from here on we are on the caller's stack
	pop	rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
endfunc callon

// callsaved(f: extern "C" fn(a: usize, b: usize, sp: usize) -> usize,
//           a: usize, b: usize) -> usize
//
// Calls f(a, b, sp): at sp lie the registers that a call keeps, as the caller
// has them, and then the caller's frames. So what a collection has to look at
// on this stack begins there.
func callsaved
	save	rbx
	save	rbp
	save	r12
	save	r13
	save	r14
	save	r15
	mov	rax, rdi
	mov	rdi, rsi
	mov	rsi, rdx
	mov	rdx, rsp
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	call	rax
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	restore	r15
	restore	r14
	restore	r13
	restore	r12
	restore	rbp
	restore	rbx
	ret
endfunc callsaved

// callhost(f: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
//          a: *mut c_void, b: *mut c_void) -> c_int
//
// Calls f(a, b), an unlockf, on a host thread's own stack. Exceptions that
// leave f end here; on g0 they end at mcall.
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

// mstart()
//
// Runs this M: marks g0's base and calls mstart1, which schedules until the
// M ends; mexit then resumes the base, so that mstart returns.
//
// In:  g is this M's g0. The thread may have inherited any control words.
func mstart
	ldmxcsr	first_control[rip + FRAME_MXCSR]
	fldcw	first_control[rip + FRAME_FPUCW]
	lea	rdi, mstart1[rip]
	jmp	g0call
endfunc mstart

// g0call(f: extern "C" fn())
//
// Makes this point g0's base and calls f. Returns when f does, or when
// gogo(g0.sched.sp, g0) resumes the base.
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
// The first frame of every goroutine, where every walk of its stack ends. A
// switch into the frame of first_frame enters it past its nop: unwinders look
// up the byte before a return address. An uncaught exception arrives at its
// personality routine, which names the goroutine.
//
// While the goroutine runs, the GOSTART_SPACE bytes at the top of the stack
// hold its arguments and nothing else. There goexit1, still on this stack,
// prepares the next goroutine.
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
	lea	rax, 1f[rip]		// a call that the return predictor does
	push	rax			// not see: goexit1 never returns
	.cfi_adjust_cfa_offset 8
	jmp	goexit1
1:
	ud2
endfunc gostart

// goleave(to: usize, g: *const G) -> !
//
// gogo for a goroutine that ends. It is entered by a jump and left by a jump:
// so the processor's return predictor, which pairs calls with returns, still
// holds the calls of the goroutine that is resumed.
//
// In:  rdi = to, rsi = g.
func goleave
	.cfi_undefined rip
	get_tls	rax
	mov	fs:[rax], rsi
	read_control
	mov	rsp, rdi		// from here on we are on g's stack
	at_frame
	.cfi_rel_offset rip, FRAME_RIP
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
// Begins the current goroutine on the current stack, at sp = where its first
// function finds the stack pointer. Entered by a jump, as goleave is.
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
	jmp	gostart + 1		// past its nop, as a switch does
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

	.section .note.GNU-stack,"",@progbits
