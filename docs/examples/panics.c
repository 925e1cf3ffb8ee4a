/* Panics: errors that leave all functions up to a gmp_call, in order. */
#include <gmp.h>
#include <stdio.h>
#include <string.h>

static gmp_mutex lock = GMP_MUTEX_INIT;
static int requests;

static void unlock(void *arg)
{
    (void)arg;
    gmp_mutex_unlock(&lock);
}

/* Gives the lock back in whatever way the function ends. */
static void handle(void *request)
{
    gmp_mutex_lock(&lock);
    gmp_defer(unlock, NULL);
    if (strlen(request) > 8)
        gmp_panic("too long: %zu bytes", strlen(request));
    requests++;
}

/* A deferred function that stops the panic, and says what it was. */
static void report(void *text)
{
    const gmp_panic_info *info = gmp_recover();

    if (info != NULL)
        snprintf(text, 64, "failed: %s", info->text);
}

static const char *request = "much too long";

static void handle_and_report(void *text)
{
    gmp_defer(report, text);
    handle((void *)request);
}

/* A value instead of a text: it goes to whoever calls. */
static void refuse(void *reason)
{
    gmp_panic_with(reason);
}

static void recover(void *arg)
{
    (void)arg;
    gmp_recover();
}

static void refuse_and_recover(void *reason)
{
    gmp_defer(recover, NULL);
    refuse(reason);
}

int main(void)
{
    gmp_panic_info info = GMP_PANIC_INFO_INIT;
    char text[64] = "";
    int reason = 7;

    if (gmp_call(handle, (void *)"short", NULL) != 0 || requests != 1)
        return 1;
    if (gmp_call(handle_and_report, text, NULL) != 1)
        return 1;
    if (strcmp(text, "failed: too long: 13 bytes") != 0)
        return 1;
    if (gmp_call(refuse_and_recover, &reason, &info) != 1)
        return 1;
    if (info.value != &reason || gmp_mutex_trylock(&lock) != 0)
        return 1;
    return gmp_mutex_unlock(&lock);
}
