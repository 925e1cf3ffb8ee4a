/* Two stacks that switch to each other: the least that a yield can cost, and
 * half of the least that a round trip can. */
#include "raw.h"

#ifdef __x86_64__
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* Suspends this stack with its address in *save, and resumes the one at
 * `load`. The jump at the end is predicted by where it went last from here; a
 * ret would be by the call that it does not belong to.
 *
 *     stack pointer -> r15, r14, r13, r12, rbx, rbp, where to go on */
void raw_switch(void **save, void *load);
__asm__(".text\n"
        "raw_switch:\n"
        "    push %rbp\n"
        "    push %rbx\n"
        "    push %r12\n"
        "    push %r13\n"
        "    push %r14\n"
        "    push %r15\n"
        "    mov %rsp, (%rdi)\n"
        "    mov %rsi, %rsp\n"
        "    pop %r15\n"
        "    pop %r14\n"
        "    pop %r13\n"
        "    pop %r12\n"
        "    pop %rbx\n"
        "    pop %rbp\n"
        "    pop %rcx\n"
        "    jmp *%rcx\n");

enum { WORDS = 2048, FRAME = 7 };
static _Alignas(16) uintptr_t stack[WORDS];
static void *here, *there;
static long count, value;

static void other_side(void)
{
    for (;;) {
        count++;
        value++;
        raw_switch(&there, here);
    }
}

/* The last frame of `stack`, as of a call of other_side. */
static void start_other_side(void)
{
    uintptr_t *frame = &stack[WORDS - FRAME - 1];
    frame[FRAME - 1] = (uintptr_t)other_side;
    there = frame;
    count = 0;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* n rounds, each there and back, count as `each` times n. */
static void measure(long n, int each)
{
    start_other_side();
    long sent = value;
    double start = seconds();
    for (long i = 0; i < n; i++) {
        raw_switch(&here, there);
        if (value != ++sent)
            errx(1, "wrong: value");
    }
    double took = seconds() - start;
    if (count != n)
        errx(1, "wrong: number of switches");
    printf("ns\t%.10g\n", took * 1e9 / (double)n / each);
}

void yield2(long n)
{
    measure(n / 2, 2);
}

void pingpong(long n)
{
    measure(n, 1);
}
#endif
