/* What python.py calls. */
#include "company.h"

static struct gmp gmp;
static struct work work;

void begin_all(const char *path);
int end_all(void);
void die_by(const char *how);

void begin_all(const char *path)
{
    gmp = load_gmp(path);
    begin_work(&work, &gmp);
}

int end_all(void)
{
    end_work(&work);
    return (int)atomic_load(&work.done);
}

void die_by(const char *how)
{
    die(&gmp, how);
}
