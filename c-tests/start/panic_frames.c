/* The registers of a caller, and its stack, after a panic that left frames
 * which have saved all of them; again and again, since the rules of frames are
 * remembered. And where one plug-in has the place of another: its function lies
 * where the other's was, and has saved two registers in the other order.
 *
 * The plug-ins are this very file, with FIRST and THEN defined: the registers.
 * Arguments: the paths of two. */
#ifdef FIRST

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define SAVE(reg)                   \
    "    push %" TEXT(reg) "\n"      \
    ".cfi_adjust_cfa_offset 8\n"    \
    ".cfi_rel_offset %" TEXT(reg) ", 0\n"

__asm__(".globl plugin_leaves\n"
        ".type plugin_leaves, @function\n"
        "plugin_leaves:\n"
        ".cfi_startproc\n"
        SAVE(FIRST) SAVE(THEN)
        "    sub $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        "    mov $-1, %rbx\n"
        "    mov $-1, %r12\n"
        "    call *%rdi\n"
        "    ud2\n"
        ".cfi_endproc\n"
        ".size plugin_leaves, . - plugin_leaves\n");

#else

#include "../test.h"

#include <dlfcn.h>

typedef void leaves(void (*next)(void));

/* Calls gmp_call(fn, arg, NULL), with numbers in the registers that a call
 * keeps: its result, or -1 if they are others afterwards. */
int call_with_numbers(gmp_fn fn, void *arg);
/* Calls next with other numbers there. */
void changes_all(void (*next)(void));

__asm__(".macro keep reg\n"
        "    push %\\reg\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".cfi_rel_offset %\\reg, 0\n"
        ".endm\n"
        ".macro give_back reg\n"
        "    pop %\\reg\n"
        ".cfi_adjust_cfa_offset -8\n"
        ".cfi_restore %\\reg\n"
        ".endm\n"
        ".macro number reg, value\n"
        "    mov $\\value, %\\reg\n"
        ".endm\n"
        ".macro is_number reg, value\n"
        "    cmp $\\value, %\\reg\n"
        "    jne 1f\n"
        ".endm\n"
        ".macro each what, by=0\n"
        "    \\what rbx, \\by + 1\n"
        "    \\what rbp, \\by + 2\n"
        "    \\what r12, \\by + 3\n"
        "    \\what r13, \\by + 4\n"
        "    \\what r14, \\by + 5\n"
        "    \\what r15, \\by + 6\n"
        ".endm\n"
        ".macro begin name\n"
        ".globl \\name\n"
        ".type \\name, @function\n"
        "\\name:\n"
        ".cfi_startproc\n"
        "    keep rbx\n"
        "    keep rbp\n"
        "    keep r12\n"
        "    keep r13\n"
        "    keep r14\n"
        "    keep r15\n"
        "    sub $8, %rsp\n"
        ".cfi_adjust_cfa_offset 8\n"
        ".endm\n"
        ".macro end name\n"
        "    add $8, %rsp\n"
        ".cfi_adjust_cfa_offset -8\n"
        "    give_back r15\n"
        "    give_back r14\n"
        "    give_back r13\n"
        "    give_back r12\n"
        "    give_back rbp\n"
        "    give_back rbx\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size \\name, . - \\name\n"
        ".endm\n"
        ".text\n"
        "begin call_with_numbers\n"
        "    each number, 100\n"
        "    xor %edx, %edx\n"
        "    call gmp_call@PLT\n"
        "    each is_number, 100\n"
        "    jmp 2f\n"
        "1:    mov $-1, %eax\n"
        "2:\n"
        "end call_with_numbers\n"
        "begin changes_all\n"
        "    mov %rdi, %rax\n"
        "    each number, 200\n"
        "    call *%rax\n"
        "end changes_all\n");

static leaves *of_plugin;
static int recovered;

static void recovers(void *arg)
{
    recovered += gmp_recover() != NULL;
}

static void panics(void)
{
    gmp_panic("of a test");
}

static void leaves_more(void)
{
    changes_all(panics);
}

static void by_all(void *arg)
{
    CHECK_OK(gmp_defer(recovers, NULL));
    changes_all(leaves_more);
}

static void by_plugin(void *arg)
{
    CHECK_OK(gmp_defer(recovers, NULL));
    of_plugin(panics);
}

static void ends_blocks(const int *unused)
{
    (void)unused;
    recovered++;
}

/* With something to do in a frame, an unwinder has to leave it. */
static void with_cleanup(void)
{
    __attribute__((cleanup(ends_blocks))) int unused = 0;

    (void)unused;
    changes_all(panics);
}

static void by_cleanup(void *arg)
{
    CHECK_OK(gmp_defer(recovers, NULL));
    changes_all(with_cleanup);
}

static void many(gmp_fn fn, int each)
{
    for (int i = 0; i < 20; i++) {
        recovered = 0;
        CHECK_EQ(call_with_numbers(fn, NULL), 1);
        CHECK_EQ(recovered, each);
    }
}

static void all(void *arg)
{
    many(by_all, 1);
    many(by_cleanup, 2);
}

static void in_turns(char **paths)
{
    void *before = NULL;
    int again = 0;

    for (int i = 0; i < 10; i++) {
        void *plugin = dlopen(paths[i % 2], RTLD_NOW);

        CHECK(plugin != NULL);
        of_plugin = (leaves *)dlsym(plugin, "plugin_leaves");
        CHECK(of_plugin != NULL);
        again += before == (void *)of_plugin;
        before = (void *)of_plugin;
        many(by_plugin, 1);
        CHECK_EQ(dlclose(plugin), 0);
    }
    printf("in one place: %d\n", again);
}

int test_main(int argc, char **argv)
{
    all(NULL);
    CHECK_OK(gmp_join(spawn(all, NULL)));
    CHECK_EQ(argc, 3);
    in_turns(argv + 1);
    return 0;
}

#endif
