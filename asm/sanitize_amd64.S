// The functions of sanitizers, where the process has them. A program that was
// compiled with one brings its runtime and exports these names; elsewhere each
// word is null. The order is that of Table in src/base/sanitize.rs.

#include "macros.h"

.macro wish name
	.weak	\name
	.quad	\name
.endm

	.section .data.rel.ro,"aw",@progbits
	.balign	8
	.globl	gmprt_sanitizer
	.hidden	gmprt_sanitizer
	.type	gmprt_sanitizer, @object
gmprt_sanitizer:
	wish	__sanitizer_start_switch_fiber
	wish	__sanitizer_finish_switch_fiber
	wish	__asan_get_current_fake_stack
	wish	__asan_addr_is_in_fake_stack
	wish	__asan_unpoison_memory_region
	wish	__asan_loadN
	wish	__asan_storeN
	wish	__lsan_register_root_region
	wish	__lsan_unregister_root_region
	wish	__lsan_ignore_object
	wish	__tsan_create_fiber
	wish	__tsan_destroy_fiber
	wish	__tsan_get_current_fiber
	wish	__tsan_switch_to_fiber
	wish	__tsan_set_fiber_name
	wish	__tsan_func_entry
	wish	__tsan_func_exit
	wish	__tsan_acquire
	wish	__tsan_release
	wish	__tsan_read_range
	wish	__tsan_write_range
	wish	__tsan_ignore_thread_begin
	wish	__tsan_ignore_thread_end
	wish	AnnotateBenignRaceSized
	.size	gmprt_sanitizer, . - gmprt_sanitizer

	.section .note.GNU-stack,"",@progbits
