/* The agreement between faults.c and faults_inject.c. */
#ifndef GMPRT_FAULTS_H
#define GMPRT_FAULTS_H

/* A number that belongs to no system call, so that nothing else makes it. Its
 * argument is one of these. */
#define MARK 100000
enum { BEGIN = 1, END, IDLE, BUSY };

/* The exit code of an injector that cannot work. */
#define NO_SECCOMP 77

#endif
