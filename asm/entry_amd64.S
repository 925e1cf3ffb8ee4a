// The entry point of a program whose main function is the main goroutine: it
// is linked with -Wl,-e,_rt0_amd64_linux and this object.
//
// The code is part of the program, because the kernel or the dynamic loader
// jumps to it. libc is initialised first, since main and its libraries need
// it. Then the main thread becomes m0 and runs main as the main goroutine. If
// the program has _rt0_amd64_linux and was entered there, the library's
// constructor starts no thread.

#include "macros.h"

	.text

// _rt0_amd64_linux
//
// In:  rsp -> argc, argv[0], …, null; rdx = what libc calls at exit, or null.
	.globl	_rt0_amd64_linux
	.type	_rt0_amd64_linux, @function
_rt0_amd64_linux:
	.cfi_startproc
	.cfi_undefined rip		// every walk ends here
	jmp	_rt0_amd64
endfunc _rt0_amd64_linux

// _rt0_amd64
//
// __libc_start_main(main, argc, argv, init, fini, rtld_fini, stack_end); init
// and fini are null where libc runs the constructors by itself.
//
// In:  as _rt0_amd64_linux.
func _rt0_amd64
	.cfi_undefined rip
	xor	ebp, ebp
	mov	r9, rdx
	mov	rsi, [rsp]		// argc
	lea	rdx, [rsp + 8]		// argv
	and	rsp, -16
	push	rax
	push	rsp
	mov	rcx, qword ptr __libc_csu_init@GOTPCREL[rip]
	mov	r8, qword ptr __libc_csu_fini@GOTPCREL[rip]
	lea	rdi, _rt0_amd64_main[rip]
	call	qword ptr __libc_start_main@GOTPCREL[rip]
	hlt
endfunc _rt0_amd64
	.weak	__libc_csu_init
	.weak	__libc_csu_fini

// _rt0_amd64_main(argc: c_int, argv: *const *const c_char) -> !
//
// The function that libc takes for main: continues at rt0_go, in the library.
func _rt0_amd64_main
	mov	rdx, qword ptr main@GOTPCREL[rip]
	jmp	_rt0_amd64_exe@PLT
endfunc _rt0_amd64_main

	.section .note.GNU-stack,"",@progbits
