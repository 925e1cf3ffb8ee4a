/* What a plug-in that uses the library offers to its host. */
struct user {
    /* Uses everything, once. 0, or the line of what has failed. */
    int (*use)(void);
    /* Ends the runtime: what gmp_shutdown returns. */
    int (*end)(void);
    /* Starts a goroutine that waits, and takes its thread of the host's into a
     * call that waits for ever. What that call returns. */
    int (*wait)(void);
    /* Ends the runtime from a destructor of the plug-in's. */
    void (*end_at_unload)(void);
    /* Uses the whole heap, once, and leaves objects. 0, or the line of what has
     * failed. */
    int (*heap)(void);
    /* After the library has seen the end of the process, reads the objects that
     * `heap` has left, and writes "read". In a plug-in with the library inside.
     */
    void (*read_at_exit)(void);
};
