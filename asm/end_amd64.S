// The end of gmp_shutdown.

#include "offsets.h"
#include "macros.h"

	.text

// shutdown_leave(deadline: i64) -> c_int
//
// Calls gmprt_shutdown, and drops the library's reference to itself. If that was the
// last one, this code is gone when dlclose returns. So dlclose is entered by a
// jump, and returns to the host: 0, as gmprt_shutdown did.
//
//     rsp -> null or what to drop, a free word, return address
func shutdown_leave
	sub	rsp, 24
	.cfi_adjust_cfa_offset 24
	mov	qword ptr [rsp], 0
	mov	rsi, rsp
	call	gmprt_shutdown
	mov	rdi, [rsp]
	add	rsp, 24
	.cfi_adjust_cfa_offset -24
	test	rdi, rdi
	jz	1f
	jmp	qword ptr dlclose@GOTPCREL[rip]
1:
	ret
endfunc shutdown_leave

	.hidden	gmprt_shutdown
	.section .note.GNU-stack,"",@progbits
