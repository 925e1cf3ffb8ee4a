/* Goroutines whose threads wait for memory: a page fault that is soon over
 * costs no thread, however many there are; one that is not lets the others go
 * on. The faults are a userfaultfd's, so how long each takes is known. */
#include "test.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { PAGE = 4096, FAULTS = 400, OTHERS = 100 };

/* A fault is soon over, if the machine lets it; beyond LONG it may be taken
 * for a blocked call. */
#define DELAY US(1500)
#define LONG MS(8)
#define PATIENCE SEC(4)

static int uffd;
static char *pages;
static atomic_bool hold, stop;
static atomic_int held, touched, ran, slow;

static void touch(void *page)
{
    *(volatile char *)page = 1;
    atomic_fetch_add(&touched, 1);
}

static void run(void *arg)
{
    atomic_fetch_add(&ran, 1);
}

/* The page that the next thread waits for; 0 if none does. */
static uint64_t next_fault(void)
{
    struct pollfd fd = {uffd, POLLIN, 0};
    struct uffd_msg msg;

    if (poll(&fd, 1, 1) <= 0 || read(uffd, &msg, sizeof msg) != sizeof msg)
        return 0;
    CHECK_EQ(msg.event, UFFD_EVENT_PAGEFAULT);
    return msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
}

static void resolve(uint64_t page)
{
    struct uffdio_zeropage zero = {{page, PAGE}, 0, 0};

    CHECK_OK(ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
}

/* Gives each its page, a little after it was asked for, or once it may. */
static void *give_pages(void *arg)
{
    while (!atomic_load(&stop)) {
        uint64_t page[64];
        int64_t begun = gmp_now();
        int n = 0;

        while (n < 64 && (n == 0 || gmp_now() < begun + DELAY))
            if ((page[n] = next_fault()) != 0) {
                begun = n == 0 ? gmp_now() : begun;
                n++;
            } else if (atomic_load(&stop))
                return NULL;
        atomic_fetch_add(&held, n);
        while (atomic_load(&hold))
            block_ns(US(200));
        for (int i = 0; i < n; i++)
            resolve(page[i]);
        if (gmp_now() - begun > LONG)
            atomic_fetch_add(&slow, n);
    }
    return NULL;
}

static void await(atomic_int *count, int want)
{
    int64_t end = gmp_now() + PATIENCE;

    while (atomic_load(count) != want && gmp_now() < end)
        block_ns(US(300));
    CHECK_EQ(atomic_load(count), want);
}

/* Each of these waits, and others wait behind them. */
static void short_faults_cost_no_threads(void)
{
    int before, most = 0, procs = gmp_set_maxprocs(0);

    before = count_threads();
    for (int i = 0; i < FAULTS; i++)
        CHECK_OK(gmp_go(touch, pages + (size_t)i * PAGE));
    while (atomic_load(&touched) < FAULTS) {
        int threads = count_threads();

        most = threads > most ? threads : most;
        block_ns(US(500));
    }
    printf("%d faults, %d processors: %d threads, then %d; %d were slow\n",
           FAULTS, procs, before, most, atomic_load(&slow));
    CHECK(most <= before + procs + 1 + atomic_load(&slow));
}

/* All processors are needed: each has a goroutine that waits for ever. */
static void a_long_fault_is_handed_off(void)
{
    int procs = gmp_set_maxprocs(0);

    atomic_store(&touched, 0);
    atomic_store(&held, 0);
    atomic_store(&hold, true);
    for (int i = 0; i < procs; i++)
        CHECK_OK(gmp_go(touch, pages + (size_t)(FAULTS + i) * PAGE));
    while (atomic_load(&held) == 0)
        block_ns(US(200));
    for (int i = 0; i < OTHERS; i++)
        CHECK_OK(gmp_go(run, NULL));
    await(&ran, OTHERS);
    CHECK(atomic_load(&touched) == 0);
    atomic_store(&hold, false);
    await(&touched, procs);
}

static bool have_faults(void)
{
    struct uffdio_api api = {UFFD_API, 0, 0};
    struct uffdio_register reg;
    size_t len = (FAULTS + 64) * (size_t)PAGE;

    uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK |
                                                    UFFD_USER_MODE_ONLY);
    if (uffd < 0)
        return false;
    CHECK_OK(ioctl(uffd, UFFDIO_API, &api));
    pages = mmap(NULL, len, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    memset(&reg, 0, sizeof reg);
    reg.range.start = (uintptr_t)pages;
    reg.range.len = len;
    reg.mode = UFFDIO_REGISTER_MODE_MISSING;
    CHECK_OK(ioctl(uffd, UFFDIO_REGISTER, &reg));
    return true;
}

int test_main(int argc, char **argv)
{
    pthread_t giver;

    if (!have_faults()) {
        test_skip("page faults", "userfaultfd is refused");
        return 0;
    }
    CHECK_OK(gmp_wait_init());
    CHECK_OK(pthread_create(&giver, NULL, give_pages, NULL));
    short_faults_cost_no_threads();
    a_long_fault_is_handed_off();
    atomic_store(&stop, true);
    CHECK_OK(pthread_join(giver, NULL));
    return 0;
}
