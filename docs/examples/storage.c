/* A value of its own for each goroutine, freed at its end. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gmp_key *request_id;

/* Returns this goroutine's request, for the lines of a log. */
static const char *current_request(void)
{
    const char *id = gmp_getspecific(request_id);

    return id != NULL ? id : "none";
}

static void handle(void *arg)
{
    char *copy = strdup(arg);

    if (copy == NULL || gmp_setspecific(request_id, copy) != 0) {
        free(copy);
        return;
    }
    gmp_yield();
    printf("request %s\n", current_request()); /* free(copy) comes at the end */
}

int main(void)
{
    gmp_g *a, *b;

    request_id = gmp_key_create(free);
    if (request_id == NULL || gmp_go_with(NULL, handle, "A1", &a) != 0 ||
        gmp_go_with(NULL, handle, "B2", &b) != 0)
        return 1;
    gmp_join(a);
    gmp_join(b);
    printf("main: %s\n", current_request());
    return gmp_key_delete(request_id);
}
