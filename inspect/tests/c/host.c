// Loads a library, gives the library's file another content if there is a
// third argument, and calls the library's main with the second.

#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *library = dlopen(argv[1], RTLD_NOW);
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	if (argc > 3 && rename(argv[3], argv[1]) != 0)
		return 2;
	int (*inside)(int, char **) =
	    (int (*)(int, char **))dlsym(library, "main");
	return inside(argc - 1, argv + 1) == 12345;
}
