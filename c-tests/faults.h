/* What faults.c and faults_inject.c have agreed on. */
#ifndef GMPRT_FAULTS_H
#define GMPRT_FAULTS_H

/* A number that is no system call's, so that nobody else makes it; its
 * argument is one of these. */
#define MARK 100000
enum { BEGIN = 1, END, IDLE, BUSY };

/* The exit code of an injector that cannot work. */
#define NO_SECCOMP 77

#endif
