/* An ordinary program that loads a plugin. The program is not linked with gmprt
 * and needs no LD_PRELOAD: the goroutines come with the plugin. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PLUGIN.so\n", argv[0]);
        return 2;
    }
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    long (*sum_of_squares)(long);
    void *symbol = dlsym(plugin, "sum_of_squares");
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    memcpy(&sum_of_squares, &symbol, sizeof symbol);
    printf("sum of squares to 1000: %ld\n", sum_of_squares(1000));

    /* The plugin's goroutines have sent their results, but may still be on
     * their way out of its code: they end first. */
    int (*plugin_end)(void);
    symbol = dlsym(plugin, "plugin_end");
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    memcpy(&plugin_end, &symbol, sizeof symbol);
    int rc = plugin_end();
    if (rc != 0) {
        fprintf(stderr, "the plugin does not end: %s\n", strerror(-rc));
        return 1;
    }
    return dlclose(plugin) == 0 ? 0 : 1;
}
