/* A native add-on for node, which loads the library: the functions begin, end
 * and die. Those of Node-API that are needed are declared here, as node's
 * headers come in a package of their own. */
#include "company.h"

typedef void *env, *value;
typedef value (*function)(env, void *info);

extern int napi_create_function(env, const char *, size_t, function, void *,
                                value *);
extern int napi_set_named_property(env, value, const char *, value);
extern int napi_create_int64(env, int64_t, value *);

static struct gmp gmp;
static struct work work;

static value begin_all(env e, void *info)
{
    (void)info;
    (void)e;
    gmp = load_gmp(getenv("GMPRT_LIBRARY"));
    begin_work(&work, &gmp);
    return NULL;
}

/* How much was done. */
static value end_all(env e, void *info)
{
    value done = NULL;

    (void)info;
    end_work(&work);
    napi_create_int64(e, atomic_load(&work.done), &done);
    return done;
}

static value die_by(env e, void *info)
{
    (void)e;
    (void)info;
    die(&gmp, getenv("HOW"));
    return NULL;
}

__attribute__((visibility("default"))) value
napi_register_module_v1(env e, value exports)
{
    static const struct {
        const char *name;
        function f;
    } functions[] = {{"begin", begin_all}, {"end", end_all}, {"die", die_by}};

    for (int i = 0; i < 3; i++) {
        value f = NULL;

        CHECK_OK(napi_create_function(e, functions[i].name, (size_t)-1,
                                      functions[i].f, NULL, &f));
        CHECK_OK(napi_set_named_property(e, exports, functions[i].name, f));
    }
    return exports;
}
