/* The few functions of a redis server that redis.c calls, declared here, since
 * no package brings them. A module is handed a function that finds all others
 * by their names, in the first word of the context of its start. */
#ifndef COMPANY_REDIS_H
#define COMPANY_REDIS_H

#include <stddef.h>
#include <stdint.h>

enum { OK = 0, ERR = 1, READ = 1, WRITE = 2, API = 1 };

typedef struct context context;
typedef struct string string;
typedef struct key key;
typedef struct blocked blocked;
typedef struct reply reply;
typedef struct file file;
typedef struct type type;
typedef struct digest digest;

typedef int command(context *, string **, int);

/* The functions of a type of values, as the first version has them. */
struct methods {
    uint64_t version;
    void *(*load)(file *, int version);
    void (*save)(file *, void *);
    void (*rewrite)(file *, string *, void *);
    size_t (*usage)(const void *);
    void (*digest)(digest *, void *);
    void (*free)(void *);
};

/* X(result, name, arguments) for each. */
#define REDIS(X)                                                              \
    X(void, SetModuleAttribs, (context *, const char *, int, int))            \
    X(int, CreateCommand, (context *, const char *, command *, const char *,  \
                           int, int, int))                                    \
    X(type *, CreateDataType, (context *, const char *, int,                  \
                               struct methods *))                             \
    X(int, StringToLongLong, (const string *, long long *))                   \
    X(const char *, StringPtrLen, (const string *, size_t *))                 \
    X(int, ReplyWithLongLong, (context *, long long))                         \
    X(int, ReplyWithSimpleString, (context *, const char *))                  \
    X(int, ReplyWithError, (context *, const char *))                         \
    X(int, ReplyWithArray, (context *, long))                                 \
    X(int, ReplicateVerbatim, (context *))                                    \
    X(key *, OpenKey, (context *, string *, int))                             \
    X(void, CloseKey, (key *))                                                \
    X(int, ModuleTypeSetValue, (key *, type *, void *))                       \
    X(type *, ModuleTypeGetType, (key *))                                     \
    X(void *, ModuleTypeGetValue, (key *))                                    \
    X(void, SaveUnsigned, (file *, uint64_t))                                 \
    X(uint64_t, LoadUnsigned, (file *))                                       \
    X(void, EmitAOF, (file *, const char *, const char *, ...))               \
    X(blocked *, BlockClient, (context *, command *, command *,               \
                               void (*)(context *, void *), long long))       \
    X(int, UnblockClient, (blocked *, void *))                                \
    X(void *, GetBlockedClientPrivateData, (context *))                       \
    X(context *, GetThreadSafeContext, (blocked *))                           \
    X(void, FreeThreadSafeContext, (context *))                               \
    X(void, ThreadSafeContextLock, (context *))                               \
    X(void, ThreadSafeContextUnlock, (context *))                             \
    X(reply *, Call, (context *, const char *, const char *, ...))            \
    X(void, FreeCallReply, (reply *))

struct redis {
#define X(result, name, arguments) result(*name) arguments;
    REDIS(X)
#undef X
};

/* Fills it, for the module's start. */
static inline int find_redis(context *ctx, struct redis *redis)
{
    int (*get)(const char *, void *) = *(int (**)(const char *, void *))ctx;

#define X(result, name, arguments)                                            \
    if (get("RedisModule_" #name, &redis->name) != OK)                        \
        return ERR;
    REDIS(X)
#undef X
    return OK;
}

#endif
