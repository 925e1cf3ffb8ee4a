/* G, M and P for debuggers. The library's code is compiled without its types,
 * whose debug information would be many times larger than all the rest; so
 * they are told once more here, in C. Nothing uses them: a test compares each
 * field with gmp_debug_layout. The comments on the fields are in src/gmp. */
#include <stdbool.h>
#include <stdint.h>

struct runtime_m;
struct runtime_p;

enum runtime_gstatus {
    Gidle = 0, Grunnable = 1, Grunning = 2, Gwaiting = 4, Gdead = 6,
};

struct runtime_wait {
    int64_t deadline;
    const char *reason;
    void *object;
    uintptr_t held;
    uint8_t kind;
};

struct runtime_g {
    uintptr_t stack_lo;
    uintptr_t stack_hi;
    uintptr_t stackguard0;
    uintptr_t stackguard1;
    void **sched_sp;
    struct runtime_m *m;
    uint64_t park;
    uint32_t park_flags;
    uint32_t generation;
    struct runtime_g *schedlink;
    enum runtime_gstatus status;
    uint16_t flags;
    bool claim;
    bool held;
    int32_t saved_errno;
    uint32_t index;
    uint64_t goid;
    void (*func)(void *arg);
    void *arg;
    uintptr_t joiner;
    uint64_t parent;
    struct runtime_m *lockedm;
    const char *name;
    struct runtime_wait *waiting;
    uint32_t waitsince;
    uint32_t args_len;
    uint32_t stack_size;
    uint16_t shields;
    uint8_t stack_class;
    uint8_t rounds;
    void *defers;
    void *locals;
    void *at_end;
    uintptr_t cxa[2];
    void *gopc;
    uint8_t args[40];
};

enum runtime_mkind {
    Mworker, Mearly, Msysmon, Mtemplate, Mtracer, Mdumper, Mhost,
};

struct runtime_m {
    struct runtime_g *g0;
    struct runtime_g *curg;
    struct runtime_p *p;
    uintptr_t tls[2];
    bool in_runtime;
    bool spinning;
    bool busy_without_p;
    uint8_t kind; /* enum runtime_mkind */
    bool direct;
    int32_t *errno_at;
    uintptr_t *cxa;
    uintptr_t hook[3];
    int64_t id;
    int32_t procid;
    uintptr_t tp;
    struct runtime_g *standin;
    bool hostlisted;
    struct runtime_m *hostlink;
    uint32_t park;
    uint64_t key;
    bool lasts;
    bool shut;
    bool hostwait;
    struct runtime_p *nextp;
    struct runtime_p *oldp;
    struct runtime_g *nextg;
    struct runtime_g *lockedg;
    uint32_t lockedext;
    void (*mstartfn)(void);
    struct runtime_m *schedlink;
    struct runtime_m *alllink;
};

/* Its first fields. */
struct runtime_p {
    uint64_t owner;
    struct runtime_g *runnext;
    uint64_t schedtick;
    uint32_t id;
};

extern struct runtime_g runtime_g0;
extern struct runtime_m runtime_m0;
