// gmp_call, and the calls of deferred functions. Host code runs above these
// frames, and an unwinding arrives at them; so they are assembly, whose
// personality routines (src/diag/unwinding.rs) say where it goes on.

#include "offsets.h"
#include "macros.h"

// The rest of the frame of gmprt_call; a multiple of 16.
#define CALL_RESULT 16
#define CALL_LEFT 20
#define CALL_FRAME 32

// The frame of gmprt_jump, below what it saves.
#define JUMP_EXCEPTION 48
#define JUMP_SAVED 56

	.text

// gmprt_call(fn: extern "C" fn(*mut c_void), arg: *mut c_void,
//            info: *mut PanicInfo) -> c_int
//
// gmp_call: calls fn(arg) and then what fn has deferred. Returns 0, or 1 after
// a panic that was recovered, or the error of gmprt_call_begin.
//
//     [rsp] = fn, and an exception that leaves fn later
//     [rsp + CALL_MARK] = arg, and the record of this call later; null once it
//                         has been ended from elsewhere
//     [rsp + CALL_RESULT] = the result
//     [rsp + CALL_LEFT] = 1 while an exception leaves fn
//     rbx = info
//
// rsp is the same at each call below. It names the frame: the record has it,
// and unwinders give it to the personality routine.
func gmprt_call
	.cfi_personality 0x1b, gmprt_personality_call
	save	rbx
	sub	rsp, CALL_FRAME
	.cfi_adjust_cfa_offset CALL_FRAME
	mov	[rsp], rdi
	mov	[rsp + CALL_MARK], rsi
	mov	rbx, rdx
	mov	rsi, rdx
	mov	rdx, rsp
	call	gmprt_call_begin	// (fn, info, frame) -> record, or error
	test	rax, rax
	js	3f
	mov	rdi, [rsp + CALL_MARK]
	mov	[rsp + CALL_MARK], rax
	mov	qword ptr [rsp + CALL_RESULT], 0
	call	qword ptr [rsp]
	.globl	gmprt_call_defers
	.hidden	gmprt_call_defers
gmprt_call_defers:			// behind fn: exceptions end at a defer
1:	mov	rdi, [rsp + CALL_MARK]
	call	gmprt_call_next		// (record) -> (fn in rax, arg in rdx)
	test	rax, rax
	je	2f
	mov	rdi, rdx
	call	rax
	jmp	1b
2:	cmp	dword ptr [rsp + CALL_LEFT], 0
	jne	4f
	mov	eax, [rsp + CALL_RESULT]
3:	.cfi_remember_state
	add	rsp, CALL_FRAME
	.cfi_adjust_cfa_offset -CALL_FRAME
	restore	rbx
	ret
	.cfi_restore_state
	.globl	gmprt_call_resumes
	.hidden	gmprt_call_resumes
gmprt_call_resumes:			// behind this an exception passes
4:	mov	rdi, [rsp]
	call	_Unwind_Resume@PLT
	ud2

// A panic was recovered here: rax = its exception.
	.globl	gmprt_call_recovered
	.hidden	gmprt_call_recovered
gmprt_call_recovered:
	mov	dword ptr [rsp + CALL_RESULT], 1
	mov	rdi, rax
	mov	rsi, [rsp + CALL_MARK]
	mov	rdx, rbx
	call	gmprt_call_recover	// (exception, record, info)
	jmp	1b

// An exception, or the end of a host thread, leaves fn: rax = the exception.
	.globl	gmprt_call_left
	.hidden	gmprt_call_left
gmprt_call_left:
	mov	[rsp], rax
	mov	dword ptr [rsp + CALL_LEFT], 1
	jmp	1b
	.globl	gmprt_call_end
	.hidden	gmprt_call_end
gmprt_call_end:
endfunc gmprt_call

// gmprt_run_defers(panic: *const Panic) -> *mut Exception
//
// Calls deferred functions while the frames that have deferred them are there:
// for a panic, or for gmp_exit if panic is null. Returns what to unwind with.
//
//     rbx = panic; rsp = the CFA of each deferred function
func gmprt_run_defers
	.cfi_personality 0x1b, gmprt_personality_defer
	save	rbx
	mov	rbx, rdi
1:	mov	rdi, rbx
	mov	rsi, rsp
	call	gmprt_next_deferred	// (panic, argp) -> (fn in rax, arg in rdx)
	test	rax, rax
	je	2f
	mov	rdi, rdx
	call	rax
	jmp	1b
2:	mov	rax, rdx
	restore	rbx
	ret
endfunc gmprt_run_defers

// gmprt_jump(exception: *mut Exception)
//
// Leaves the frames of a panic that was recovered at once, if none of them has
// anything to do when it is left: goes on in gmprt_call, whose frame is above.
// Returns where it has to be unwound.
//
//     rsp -> rbx, rbp, r12, r13, r14, r15 of gmprt_call's frame: JUMP_REGISTERS
//     [rsp + JUMP_EXCEPTION] = exception
//     [rsp + JUMP_SAVED] -> r15, r14, r13, r12, rbp, rbx, return address
func gmprt_jump
	save	rbx
	save	rbp
	save	r12
	save	r13
	save	r14
	save	r15
	sub	rsp, JUMP_SAVED
	.cfi_adjust_cfa_offset JUMP_SAVED
	mov	[rsp + JUMP_EXCEPTION], rdi
	lea	rsi, [rsp + JUMP_SAVED]
	mov	rdx, rsp
	call	gmprt_jump_to	// (exception, saved, registers) -> rsp, or 0
	test	rax, rax
	je	1f
	mov	rcx, rax
	mov	rax, [rsp + JUMP_EXCEPTION]
	mov	rbx, [rsp]
	mov	rbp, [rsp + 8]
	mov	r12, [rsp + 16]
	mov	r13, [rsp + 24]
	mov	r14, [rsp + 32]
	mov	r15, [rsp + 40]
	.cfi_remember_state
	mov	rsp, rcx		// from here on this is gmprt_call's frame
	.cfi_def_cfa rsp, CALL_FRAME + 16
	.cfi_offset rbx, -16
	.cfi_same_value rbp
	.cfi_same_value r12
	.cfi_same_value r13
	.cfi_same_value r14
	.cfi_same_value r15
	jmp	gmprt_call_recovered
	.cfi_restore_state
1:	add	rsp, JUMP_SAVED
	.cfi_adjust_cfa_offset -JUMP_SAVED
	restore	r15
	restore	r14
	restore	r13
	restore	r12
	restore	rbp
	restore	rbx
	ret
endfunc gmprt_jump

// calllast(f: extern "C" fn(*mut c_void), arg: *mut c_void)
//
// Calls f(arg) at the end of a goroutine or thread: a defer, or a destructor.
// An exception that leaves f counts as uncaught, also where gmp_exit was called
// under a handler. gmp_exit, or a panic that was recovered, goes on behind the
// call.
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

// callbase(f: extern "C" fn(usize, usize, usize) -> usize,
//          a: usize, b: usize, c: usize) -> (usize in rax, bool in rdx)
//
// Calls f(a, b, c) at the base of a goroutine, for a function of the library
// that is its first. rdx is 1 if gmp_exit, or a panic that was recovered, has
// left f.
func callbase
	.cfi_personality 0x1b, gmprt_personality_base
	sub	rsp, 8
	.cfi_adjust_cfa_offset 8
	mov	rax, rdi
	mov	rdi, rsi
	mov	rsi, rdx
	mov	rdx, rcx
	call	rax
	xor	edx, edx
1:	.cfi_remember_state
	add	rsp, 8
	.cfi_adjust_cfa_offset -8
	ret
	.cfi_restore_state
	.globl	gmprt_base_left
	.hidden	gmprt_base_left
gmprt_base_left:
	mov	edx, 1
	jmp	1b
endfunc callbase

// swallowed(reason: c_int, exception: *mut c_void)
//
// The clean-up of an exception of ours: a handler has caught it for good, and
// that is fatal. A layer above has the words.
func swallowed
	jmp	gmprt_swallowed
endfunc swallowed

	.hidden	gmprt_swallowed
	.hidden	gmprt_call_begin
	.hidden	gmprt_call_next
	.hidden	gmprt_call_recover
	.hidden	gmprt_jump_to
	.hidden	gmprt_next_deferred
	.hidden	gmprt_personality_base
	.hidden	gmprt_personality_call
	.hidden	gmprt_personality_defer
	.hidden	gmprt_personality_last

	.section .note.GNU-stack,"",@progbits
