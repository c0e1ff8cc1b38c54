// SPDX-License-Identifier: Apache-2.0
/* Starts servers for tests; see servers.h. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/harness/harness.h"
#include "tests/harness/servers.h"

const char *server_enclose(pid_t pid, const char *name)
{
	const char *directory = cgroup_create(name);

	cgroup_enter(directory, pid);
	return strrchr(directory, '/');
}

static bool is_listened_on(int port)
{
	struct output *output = run_shell("ss -tlnH 'sport = :%d'", port);
	bool is = !output->status && output->size > 0;

	output_free(output);
	return is;
}

void server_wait(const struct server *server)
{
	char *log;

	if (WAIT_UNTIL(is_listened_on(server->port), 30))
		return;
	log = read_file(server->log);
	cleanup_push(free, log);
	test_fail("nobody listens on port %d: %s", server->port, log);
}

void name_server_wait(const struct network *network)
{
	shell("for i in $(seq 1000); do ip netns exec %s ss -ulnH 'sport = :53' | grep -q . && exit 0; sleep 0.02; done; exit 1",
	      network->name);
}

static struct server *server_new(void)
{
	struct server *server = calloc(1, sizeof(*server));

	if (!server)
		abort();
	cleanup_push(free, server);
	server->port = free_port();
	server->directory = temporary_directory();
	server->log = write_file(server->directory, "log", "");
	return server;
}

#define MAX_ARGUMENTS 24

/* In its control group before it is executed: it is never seen in another. */
static void server_start(struct server *server, const char *name, const char *const arguments[])
{
	const char *directory = cgroup_create(name);
	const char *enclosed[MAX_ARGUMENTS + 6] = { "sh", "-c",
						    "echo $$ >\"$0\"/cgroup.procs && exec \"$@\"",
						    directory };
	size_t n = 0;

	for (; arguments[n] && n < MAX_ARGUMENTS; n++)
		enclosed[4 + n] = arguments[n];
	server->unit = strrchr(directory, '/');
	server->pid = program_start(server->log, enclosed);
	server_wait(server);
}

/* A number as text that lives until cleanup. */
static const char *text_of(int number)
{
	char *text = NULL;

	if (asprintf(&text, "%d", number) < 0)
		abort();
	cleanup_push(free, text);
	return text;
}

static const char *joined(const char *a, const char *b)
{
	char *text = NULL;

	if (asprintf(&text, "%s%s", a, b) < 0)
		abort();
	cleanup_push(free, text);
	return text;
}

struct server *redis_start(void)
{
	struct server *server;

	require_program("redis-server");
	server = server_new();
	server_start(server, "redis",
		     (const char *const[]){ "redis-server", "--port", text_of(server->port),
					    "--bind", "127.0.0.1", "--save", "", "--dir",
					    server->directory, "--unixsocket",
					    joined(server->directory, "/socket"), NULL });
	return server;
}

const char *postgresql_program(const char *name)
{
	struct output *output =
		run_shell("ls /usr/lib/postgresql/*/bin/%s | tail -1 | tr -d '\\n'", name);
	const char *path = joined(output->text, "");

	output_free(output);
	if (access(path, X_OK))
		test_skip("needs %s of PostgreSQL", name);
	return path;
}

struct server *postgresql_start(void)
{
	const char *initdb = postgresql_program("initdb"),
		   *postgres = postgresql_program("postgres");
	struct server *server;

	require_program("setpriv");
	server = server_new();
	shell("chown postgres %s && setpriv --reuid=postgres --regid=postgres --clear-groups %s -D %s/data -U postgres --auth=trust --no-sync >/dev/null",
	      server->directory, initdb, server->directory);
	server_start(server, "postgresql",
		     (const char *const[]){ "setpriv", "--reuid=postgres", "--regid=postgres",
					    "--clear-groups", postgres, "-D",
					    joined(server->directory, "/data"), "-p",
					    text_of(server->port), "-k", server->directory, "-F",
					    "-c", "listen_addresses=127.0.0.1", NULL });
	return server;
}

struct server *mariadb_start(void)
{
	struct server *server;
	const char *data, *sock;

	require_program("mariadbd");
	require_program("mariadb-install-db");
	server = server_new();
	data = joined(server->directory, "/data");
	sock = joined(server->directory, "/socket");
	shell("mkdir %s && chown -R mysql %s && mariadb-install-db --no-defaults --user=mysql --datadir=%s --auth-root-authentication-method=normal >/dev/null",
	      data, server->directory, data);
	server_start(server, "mariadb",
		     (const char *const[]){ "mariadbd", "--no-defaults", "--user=mysql",
					    joined("--datadir=", data), joined("--socket=", sock),
					    joined("--port=", text_of(server->port)),
					    "--bind-address=127.0.0.1", "--skip-grant-tables",
					    "--innodb-flush-log-at-trx-commit=0", NULL });
	return server;
}

struct server *python_server_start(const char *script)
{
	struct server *server = server_new();

	require_program("/usr/bin/python3");
	server_start(server, "python",
		     (const char *const[]){ "/usr/bin/python3",
					    write_file(server->directory, "server.py", script),
					    text_of(server->port), NULL });
	return server;
}

void require_python(const char *module)
{
	struct output *output = run_shell("/usr/bin/python3 -c 'import %s'", module);
	bool is_there = !output->status;

	output_free(output);
	if (!is_there)
		test_skip("Python has no %s", module);
}

struct server *node_server_start(const char *script)
{
	struct server *server = server_new();

	require_program("node");
	server_start(server, "node",
		     (const char *const[]){ "node",
					    write_file(server->directory, "server.js", script),
					    text_of(server->port), NULL });
	return server;
}

struct server *haproxy_start(const char *mode, int port_behind)
{
	struct server *server;
	char *configuration = NULL;

	require_program("haproxy");
	server = server_new();
	if (asprintf(&configuration,
		     "global\n"
		     " nbthread 1\n"
		     "defaults\n"
		     " mode %s\n"
		     " timeout connect 30s\n"
		     " timeout client 30s\n"
		     " timeout server 30s\n"
		     " option splice-request\n"
		     " option splice-response\n"
		     "listen proxy\n"
		     " bind 127.0.0.1:%d\n"
		     " server behind 127.0.0.1:%d\n",
		     mode, server->port, port_behind) < 0)
		abort();
	cleanup_push(free, configuration);
	server_start(server, "haproxy",
		     (const char *const[]){
			     "haproxy", "-db", "-f",
			     write_file(server->directory, "haproxy.cfg", configuration), NULL });
	return server;
}

struct server *nghttpx_start(int port_behind)
{
	struct server *server;
	char frontend[64], backend[64];

	require_program("nghttpx");
	server = server_new();
	snprintf(frontend, sizeof(frontend), "--frontend=127.0.0.1,%d;no-tls", server->port);
	snprintf(backend, sizeof(backend), "--backend=127.0.0.1,%d", port_behind);
	server_start(server, "nghttpx",
		     (const char *const[]){ "nghttpx", "--conf=/dev/null", "--workers=1", frontend,
					    backend, NULL });
	return server;
}
