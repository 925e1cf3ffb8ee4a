/* A program that knows nothing of gmprt and loads a plugin that uses it, as a
 * browser, an editor or a server would: privately, all symbols resolved.
 *
 * Usage: host PLUGIN [ARGUMENT...]. The plugin is never unloaded. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *plugin, *symbol;
    int (*entry)(int, char **);

    if (argc < 2) {
        fprintf(stderr, "usage: host PLUGIN [ARGUMENT...]\n");
        return 2;
    }
    plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    symbol = plugin ? dlsym(plugin, "test_entry") : NULL;
    if (!symbol) {
        fprintf(stderr, "host: %s\n", dlerror());
        return 2;
    }
    *(void **)&entry = symbol;
    return entry(argc - 1, argv + 1);
}
