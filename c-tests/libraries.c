/* Libraries that block and know nothing of goroutines: a hundred downloads by
 * libcurl's easy interface, and a hundred writers of one SQLite database, on
 * two processors. Each takes the time of the slowest, not the sum. */
#include "test.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sqlite3.h>
#include <sys/socket.h>

enum { MANY = 100, ROWS = 5 };

/* What each answer of the server takes; all one after another would take
 * MANY times that. */
#define ANSWER MS(200)

static char url[64], database[64];
static atomic_int downloaded;

static void answer(void *arg)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
                               "Connection: close\r\n\r\nhello";
    int fd = (int)(intptr_t)arg;
    char request[1024];

    CHECK(gmp_read(fd, request, sizeof request) > 0);
    CHECK_OK(gmp_sleep(ANSWER));
    CHECK_EQ(gmp_write_all(fd, text, sizeof text - 1), sizeof text - 1);
    CHECK_OK(gmp_close(fd));
}

static void serve(void *arg)
{
    int fd;

    while ((fd = gmp_accept((int)(intptr_t)arg, NULL, NULL)) >= 0)
        CHECK_OK(gmp_go(answer, (void *)(intptr_t)fd));
    CHECK_EQ(fd, -EBADF);
}

static size_t count_bytes(char *data, size_t size, size_t n, void *sum)
{
    *(size_t *)sum += size * n;
    return size * n;
}

static void download(void *arg)
{
    CURL *curl = curl_easy_init();
    size_t bytes = 0;

    CHECK(curl != NULL);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, count_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &bytes);
    CHECK_EQ(curl_easy_perform(curl), CURLE_OK);
    CHECK_EQ(bytes, 5);
    curl_easy_cleanup(curl);
    atomic_fetch_add(&downloaded, 1);
}

static void run(sqlite3 *db, const char *sql)
{
    char *error = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", sql, error);
        CHECK(!"sqlite3_exec");
    }
}

static sqlite3 *open_database(void)
{
    sqlite3 *db;

    CHECK_EQ(sqlite3_open(database, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000); /* it sleeps in between, in usleep */
    run(db, "PRAGMA synchronous = OFF");
    return db;
}

static void insert(void *arg)
{
    sqlite3 *db = open_database();

    for (int i = 0; i < ROWS; i++)
        run(db, "INSERT INTO t VALUES (1)");
    sqlite3_close(db);
}

static int count_rows(void *count, int n, char **values, char **names)
{
    *(int *)count = atoi(values[0]);
    return 0;
}

static void all_at_once(gmp_fn fn)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *gs[MANY];

    attr.stack_size = 512 * 1024;
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_go_with(&attr, fn, NULL, &gs[i]));
    for (int i = 0; i < MANY; i++)
        CHECK_OK(gmp_join(gs[i]));
}

static void downloads(void)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int listener = gmp_listen("tcp4", "127.0.0.1:0");
    int64_t start;
    gmp_g *server;

    CHECK(listener >= 0);
    CHECK_OK(getsockname(listener, (struct sockaddr *)&addr, &len));
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(addr.sin_port));
    server = spawn(serve, (void *)(intptr_t)listener);
    start = gmp_now();
    all_at_once(download);
    printf("%d downloads of %lld ms: %lld ms, %d threads\n", MANY,
           (long long)(ANSWER / MS(1)), (long long)(gmp_now() - start) / 1000000,
           count_threads());
    CHECK_EQ(atomic_load(&downloaded), MANY);
    CHECK(gmp_now() - start < MANY * ANSWER / 2);
    CHECK(count_threads() < MANY + 50);
    CHECK_OK(gmp_close(listener));
    CHECK_OK(gmp_join(server));
}

static void inserts(void)
{
    int64_t start = gmp_now();
    sqlite3 *db;
    int rows = 0;

    snprintf(database, sizeof database, "/tmp/gmprt-%d.db", (int)getpid());
    unlink(database);
    db = open_database();
    run(db, "CREATE TABLE t (n)");
    all_at_once(insert);
    CHECK_EQ(sqlite3_exec(db, "SELECT count(*) FROM t", count_rows, &rows,
                          NULL), SQLITE_OK);
    CHECK_EQ(rows, MANY * ROWS);
    sqlite3_close(db);
    unlink(database);
    printf("%d rows by %d writers: %lld ms, %d threads\n", rows, MANY,
           (long long)(gmp_now() - start) / 1000000, count_threads());
    CHECK(count_threads() < 2 * MANY + 50);
}

int test_main(int argc, char **argv)
{
    CHECK_EQ(curl_global_init(CURL_GLOBAL_ALL), CURLE_OK);
    downloads();
    inserts();
    curl_global_cleanup();
    return 0;
}
