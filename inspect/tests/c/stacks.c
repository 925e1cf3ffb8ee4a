// Calls print_stack below some functions: in a call, in a handler, in the
// handler of a call through a null pointer.

#include <alloca.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef ALONE // to be looked at from outside
static void print_stack(const ucontext_t *context) {}
static void print_parked(uint64_t sp) {}
#else
extern void print_stack(const ucontext_t *context);
extern void print_parked(uint64_t sp);
#endif

#ifdef OTHER
// Makes another build of it.
char more[4096] = {1};
#endif

static const char *mode;
static void (*volatile nowhere)(void);

static void handler(int number, siginfo_t *info, void *context)
{
	print_stack(context);
	fflush(stdout);
	_exit(0);
}

// Suspends as asm/switch_amd64.S does, and calls f(sp).
extern void suspend(void (*f)(uint64_t sp));
__asm__(".text\n"
	".type suspend, @function\n"
	"suspend:\n"
	".cfi_startproc\n"
	"push %rbp\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbp, 0\n"
	"push %rbx\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset rbx, 0\n"
	"push %r12\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r12, 0\n"
	"push %r13\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r13, 0\n"
	"push %r14\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r14, 0\n"
	"push %r15\n .cfi_adjust_cfa_offset 8\n .cfi_rel_offset r15, 0\n"
	"sub $8, %rsp\n .cfi_adjust_cfa_offset 8\n"
	"stmxcsr (%rsp)\n"
	"fnstcw 4(%rsp)\n"
	"mov %rdi, %rax\n"
	"mov %rsp, %rdi\n"
	"xor %ebx, %ebx\n"
	"xor %ebp, %ebp\n"
	"call *%rax\n"
	"add $8, %rsp\n .cfi_adjust_cfa_offset -8\n"
	"pop %r15\n .cfi_adjust_cfa_offset -8\n .cfi_restore r15\n"
	"pop %r14\n .cfi_adjust_cfa_offset -8\n .cfi_restore r14\n"
	"pop %r13\n .cfi_adjust_cfa_offset -8\n .cfi_restore r13\n"
	"pop %r12\n .cfi_adjust_cfa_offset -8\n .cfi_restore r12\n"
	"pop %rbx\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbx\n"
	"pop %rbp\n .cfi_adjust_cfa_offset -8\n .cfi_restore rbp\n"
	"ret\n"
	".cfi_endproc\n"
	".size suspend, . - suspend\n");

__attribute__((noinline)) static int inner(int n)
{
	// A frame whose size is known only when it runs: its CFA needs rbp.
	char *room = alloca(n * 16 + 16);
	memset(room, n, n * 16 + 16);
	if (!strcmp(mode, "call"))
		print_stack(NULL);
	else if (!strcmp(mode, "signal"))
		raise(SIGUSR1);
	else if (!strcmp(mode, "null"))
		nowhere();
	else if (!strcmp(mode, "write"))
		*(volatile int *)8 = 1;
	else if (!strcmp(mode, "wait"))
		for (volatile int ready = puts("ready") + fflush(stdout);;)
			pause();
	else if (!strcmp(mode, "parked"))
		suspend(print_parked);
	return room[n];
}

__attribute__((noinline)) static int middle(int n)
{
	return inner(n + 1) + n;
}

__attribute__((noinline)) int outer(int n)
{
	volatile int sum = 0;
	for (int i = 0; i < n; i++)
		sum += middle(i);
	return sum;
}

int main(int argc, char **argv)
{
	mode = argv[1];
	static char stack[65536];
	stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
	sigaltstack(&other, NULL);
	struct sigaction action = {
	    .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	return outer(1) == 12345;
}
