/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real servers of the test's own, each with its own directory, on a free loopback port, in a control group of its own by
 * which its series are known: `unit` is the label. They listen when the functions return, without a connection having been made. Ended at
 * cleanup. Each skips the test without its program.
 */
#ifndef LEADLINE_TESTS_SERVERS_H
#define LEADLINE_TESTS_SERVERS_H

#include <sys/types.h>

struct network;

struct server {
	pid_t pid;
	int port;
	const char *directory;
	const char *unit; /* as the agent labels it, from its last '/' on */
	const char *log;
};

struct server *redis_start(void); /* listens on the unix socket `socket` in its directory, too */
struct server *postgresql_start(
	void); /* trusts everybody; user and database "postgres"; its unix sockets are in its directory */
/* Path of one of its programs; what is on PATH is a script that looks for the version. */
const char *postgresql_program(const char *name);
struct server *mariadb_start(void); /* the same; user "root", database "test" */
/* In front of a server on that port of the loopback: splices all it can from one connection to the other. mode: "http" or "tcp". */
struct server *haproxy_start(const char *mode, int port_behind);
/* In front of a web server on that port: speaks HTTP/2, to which clients may upgrade from HTTP/1. */
struct server *nghttpx_start(int port_behind);
/* A program in Python, or for Node: listens on the port that is its first argument. */
struct server *python_server_start(const char *script);
struct server *node_server_start(const char *script);
void require_python(const char *module); /* else skips */

/* Puts a server started otherwise in a control group of its own; returns its unit. */
const char *server_enclose(pid_t pid, const char *name);
/* Waits until this port of the loopback is listened on, else the test fails with the log. */
void server_wait(const struct server *server);
/* The same of the port that names are asked for on, in that network. */
void name_server_wait(const struct network *network);

#endif
