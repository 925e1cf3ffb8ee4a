/* Dies on a goroutine, in a function whose name and line the message must
 * have. Usage: crash_death CASE. The line after "dies here" is the place. */
#include "test.h"

#include <assert.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static volatile int zero;
static volatile bool deeper = true;
static char *volatile nowhere;

__attribute__((noinline)) static void write_null(void)
{
    /* dies here: write_null */
    *nowhere = 1;
}

__attribute__((noinline)) static void write_odd(void)
{
    uintptr_t high = (uintptr_t)1 << 63;
    char *odd = (char *)((uintptr_t)nowhere + high);

    /* dies here: write_odd */
    *odd = 1;
}

__attribute__((noinline)) static void past_the_file(void)
{
    char name[] = "/tmp/gmprt-crash-XXXXXX";
    int fd = mkstemp(name);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    unlink(name);
    /* dies here: past_the_file */
    zero = *(volatile char *)page;
}

__attribute__((noinline)) static void divide(void)
{
    /* dies here: divide */
    zero = 7 / zero;
}

__attribute__((noinline)) static void illegal(void)
{
    /* dies here: illegal */
    __builtin_trap();
}

__attribute__((noinline)) static void breakpoint(void)
{
    /* dies here: breakpoint */
    __asm__ volatile("int3");
}

__attribute__((noinline)) static void assertion(void)
{
    /* dies here: assertion */
    assert(zero == 1);
}

__attribute__((noinline)) static void aborting(void)
{
    /* dies here: aborting */
    abort();
}

__attribute__((noinline)) static void raising(void)
{
    /* dies here: raising */
    raise(SIGFPE);
    __asm__ volatile("");
}

__attribute__((noinline)) static int overflow(int depth)
{
    volatile char frame[200];

    frame[0] = (char)depth;
    /* dies here: overflow */
    return (deeper ? overflow(depth + 1) : depth) + frame[0];
}

static void die_of(const char *which)
{
    if (strcmp(which, "write_null") == 0)
        write_null();
    else if (strcmp(which, "write_odd") == 0)
        write_odd();
    else if (strcmp(which, "past_the_file") == 0)
        past_the_file();
    else if (strcmp(which, "divide") == 0)
        divide();
    else if (strcmp(which, "illegal") == 0)
        illegal();
    else if (strcmp(which, "breakpoint") == 0)
        breakpoint();
    else if (strcmp(which, "assertion") == 0)
        assertion();
    else if (strcmp(which, "aborting") == 0)
        aborting();
    else if (strcmp(which, "raising") == 0)
        raising();
    else
        overflow(0);
    __asm__ volatile("");
}

/* No process may be made from now on. */
static void forbid_clone(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_VM, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof code[0], code};

    CHECK_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK_OK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_TSYNC, &filter));
}

/* A child that borrows this process's memory dies of it. */
__attribute__((noinline)) static void die_in_vfork(const char *how, int sig)
{
    int status;
    pid_t child = vfork();

    if (child == 0) {
        die_of(how);
        _exit(1);
    }
    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), sig);
}

static void borrowed(void *arg)
{
    (void)arg;
    die_in_vfork("write_null", SIGSEGV);
    die_in_vfork("overflow", SIGSEGV);
    die_in_vfork("aborting", SIGABRT);
}

/* What the kernel says of a fault that does not come again. */
static void say_fault(int sig, int code)
{
    siginfo_t info = {.si_signo = sig, .si_code = code};

    CHECK_OK(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), sig, &info));
}

static void broken_page(void *arg)
{
    (void)arg;
    say_fault(SIGBUS, BUS_MCEERR_AO);
}

static void passing_fault(void *arg)
{
    (void)arg;
    say_fault(SIGSEGV, SEGV_MAPERR);
}

/* As hosts do that change an action for a while. */
static void put_back_handlers(void)
{
    static const int all[] = {SIGSEGV, SIGBUS,  SIGFPE,
                              SIGILL,  SIGTRAP, SIGABRT};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        signal(all[i], signal(all[i], SIG_IGN));
}

static const char *which;

__attribute__((noinline)) static void mortal(void *arg)
{
    (void)arg;
    /* On a thread of the library's, or of the host's that joins. */
    if (getenv("PARK_FIRST"))
        CHECK_OK(gmp_sleep(MS(1)));
    die_of(which);
    __asm__ volatile("");
}

static atomic_bool spins;

__attribute__((noinline)) static void bystander(void *arg)
{
    (void)arg;
    atomic_store(&spins, true);
    while (atomic_load(&spins)) /* spins here */
        ;
    __asm__ volatile("");
}

/* The same as a signal that another process has sent. */
static void from_outside(void)
{
    pid_t child = fork();

    if (child == 0) {
        kill(getppid(), SIGABRT);
        _exit(0);
    }
    for (;;)
        pause();
}

static void outsider(void *arg)
{
    (void)arg;
    from_outside();
}

int test_main(int argc, char **argv)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    which = argc > 1 ? argv[1] : "";
    attr.name = "mortal";
    if (strcmp(which, "outside") == 0) {
        CHECK_OK(gmp_go_with(&attr, outsider, NULL, &g));
        CHECK_OK(gmp_join(g));
    }
    if (strcmp(which, "borrowed") == 0) {
        CHECK_OK(gmp_go_with(&attr, borrowed, NULL, &g));
        return -gmp_join(g);
    }
    if (strcmp(which, "broken_page") == 0) {
        CHECK_OK(gmp_go_with(&attr, broken_page, NULL, &g));
        CHECK_OK(gmp_join(g));
    }
    if (strcmp(which, "passing_fault") == 0) {
        CHECK_OK(gmp_go_with(&attr, passing_fault, NULL, &g));
        return -gmp_join(g);
    }
    if (getenv("PUT_BACK"))
        put_back_handlers();
    if (getenv("NO_CLONE"))
        forbid_clone();
    if (strcmp(which, "thread") == 0) {
        CHECK_OK(gmp_sleep(1));
        write_null();
    }
    if (getenv("BYSTANDER")) {
        CHECK_OK(gmp_go(bystander, NULL));
        AWAIT(atomic_load(&spins));
    }
    CHECK_OK(gmp_go_with(&attr, mortal, NULL, &g));
    CHECK_OK(gmp_join(g));
    return 0;
}
