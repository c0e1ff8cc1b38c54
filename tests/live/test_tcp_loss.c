// SPDX-License-Identifier: Apache-2.0
/*
 * The tcp probe where segments get lost and connections fail: inside a network namespace whose loopback drops what
 * iptables is told to, compared with the kernel's own counters of that namespace.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

static struct leadline *start_agent(void)
{
	return leadline_start_only("tcp",
				   (const char *const[]){ "--probes.tcp.live_interval=0s", NULL });
}

/* A namespace of its own, and a rule for what comes in over its loopback. */
static const struct network *lossy_network(void)
{
	require_root();
	require_program("iptables");
	return network_create();
}

__attribute__((format(printf, 2, 3))) static void add_rule(const struct network *network,
							   const char *format, ...)
{
	va_list arguments;
	char rule[256];

	va_start(arguments, format);
	vsnprintf(rule, sizeof(rule), format, arguments);
	va_end(arguments);
	shell("ip netns exec %s iptables -A INPUT -i lo -p tcp %s", network->name, rule);
}

/* Tcp: RetransSegs of /proc/net/snmp, as the namespace counts it. */
static double kernel_retransmits(const struct network *network)
{
	struct output *output =
		run_shell("ip netns exec %s awk '/^Tcp:/ && !n { for (i = 1; i <= NF; i++) "
			  "if ($i == \"RetransSegs\") n = i; next } /^Tcp:/ { print $n }' "
			  "/proc/net/snmp",
			  network->name);
	double segments = atof(output->text);

	output_free(output);
	return segments;
}

/* Nothing is open in the namespace but what only waits for stray segments (TIME_WAIT, 06). */
static bool is_quiet(const struct network *network)
{
	struct output *output = run_shell(
		"ip netns exec %s awk 'FNR > 1 && $4 != \"06\"' /proc/net/tcp /proc/net/tcp6",
		network->name);
	bool quiet = output->status == 0 && output->size == 0;

	output_free(output);
	return quiet;
}

static double retransmits_of(const struct page *page, const char *comm)
{
	return metric_sum(page, "leadline_tcp_retransmitted_segments_total", "comm", comm, NULL);
}

static double failed(const struct page *page, const char *comm, const char *reason)
{
	return metric_sum(page, "leadline_tcp_connect_failures_total", "comm", comm, "reason",
			  reason, NULL);
}

static double bytes_of(const struct page *page, const char *comm, const char *direction)
{
	return metric_sum(page, "leadline_tcp_bytes_total", "comm", comm, "direction", direction,
			  NULL);
}

/* ---- lost segments ---- */

#define UPLOAD	 300007
#define DOWNLOAD 200003

static void upload(int s)
{
	send_bytes(s, UPLOAD);
	receive_bytes(s, DOWNLOAD);
	close(s);
}

static void download(int s)
{
	receive_bytes(s, UPLOAD);
	send_bytes(s, DOWNLOAD);
	receive_rest(s);
	close(s);
}

static void retransmits_equal_the_kernels(void **state)
{
	const struct network *network = lossy_network();
	struct leadline *leadline = start_agent();
	struct dialogue dialogue = {
		.family = AF_INET,
		.connections = 13,
		.network = network,
		.server = download,
		.client = upload,
	};
	struct parties parties;
	struct page *page;
	double kernel, ours;

	/* SYN-ACKs are counted elsewhere in the kernel than the rest: lose some of both, in a known rhythm. */
	add_rule(
		network,
		"--tcp-flags SYN,ACK SYN,ACK -m statistic --mode nth --every 5 --packet 2 -j DROP");
	add_rule(network, "! --syn -m statistic --mode nth --every 19 --packet 3 -j DROP");
	parties = dialogue_hold(&dialogue, 120);
	assert_true(WAIT_UNTIL(is_quiet(network), 60));

	page = leadline_scrape(leadline);
	kernel = kernel_retransmits(network);
	ours = retransmits_of(page, parties.client) + retransmits_of(page, parties.server);
	print_message("retransmitted: the kernel %.0f, leadline %.0f\n", kernel, ours);
	assert_true(kernel > 13);
	assert_true(ours == kernel);
	assert_true(retransmits_of(page, parties.client) > 0);
	assert_true(retransmits_of(page, parties.server) > 0);
	/* What is sent again is no more payload. */
	assert_true(bytes_of(page, parties.client, "sent") == 13 * UPLOAD);
	assert_true(bytes_of(page, parties.server, "received") == 13 * UPLOAD);
	assert_true(bytes_of(page, parties.server, "sent") == 13 * DOWNLOAD);
	assert_true(bytes_of(page, parties.client, "received") == 13 * DOWNLOAD);
	page_free(page);
	(void)state;
}

/* Data travels with the SYN, and the server answers before the handshake is complete. */
static int open_fast(void *network, void *shared)
{
	const int queue = 16;
	int listener, port;

	(void)shared;
	MUST(network_enter(network));
	listener = listen_on_loopback(AF_INET, &port);
	MUST(setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)));
	for (int i = 0; i < 7; i++) {
		const struct sockaddr_in address = {
			.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
			.sin_port = htons((uint16_t)port),
		};
		int client = (int)MUST(socket(AF_INET, SOCK_STREAM, 0)), server;

		MUST(sendto(client, "0123456789a", 11, MSG_FASTOPEN,
			    (const struct sockaddr *)&address, sizeof(address)));
		server = (int)MUST(accept(listener, NULL, NULL));
		receive_bytes(server, 11);
		send_bytes(server, 20011);
		receive_bytes(client, 20011);
		close(client);
		receive_rest(server);
		close(server);
	}
	return 0;
}

/* There the kernel counts a retransmitted SYN-ACK for the connection as well: it must not count twice. */
static void fast_open_is_exact(void **state)
{
	const struct network *network = lossy_network();
	struct leadline *leadline = start_agent();
	struct workload *workload;
	struct page *page;

	/* client and server, without cookies */
	shell("ip netns exec %s sh -c 'echo 0x607 > /proc/sys/net/ipv4/tcp_fastopen'",
	      network->name);
	add_rule(
		network,
		"--tcp-flags SYN,ACK SYN,ACK -m statistic --mode nth --every 3 --packet 0 -j DROP");
	workload = workload_start("fast", -1, open_fast, (void *)network);
	workload_finish(workload, 60);
	assert_true(WAIT_UNTIL(is_quiet(network), 60));
	page = leadline_scrape(leadline);
	assert_true(kernel_retransmits(network) >= 7);
	assert_true(retransmits_of(page, workload->comm) == kernel_retransmits(network));
	assert_true(bytes_of(page, workload->comm, "sent") == 7 * (11 + 20011));
	assert_true(bytes_of(page, workload->comm, "received") == 7 * (11 + 20011));
	page_free(page);
	(void)state;
}

static void hang_up(int s)
{
	close(s);
}

static void wait_for_end(int s)
{
	receive_rest(s);
	close(s);
}

/* A first SYN that gets lost is sent again after a second. */
static void a_lost_syn_shows_in_the_connect_duration(void **state)
{
	const struct network *network = lossy_network();
	struct leadline *leadline = start_agent();
	struct dialogue dialogue = {
		.family = AF_INET,
		.connections = 3,
		.network = network,
		.server = wait_for_end,
		.client = hang_up,
	};
	struct page_histogram connects;
	struct parties parties;
	struct page *page;

	add_rule(network, "--syn -m statistic --mode nth --every 2 --packet 0 -j DROP");
	parties = dialogue_hold(&dialogue, 30);
	page = leadline_scrape(leadline);
	connects = metric_histogram(page, "leadline_tcp_connect_duration_seconds", "comm",
				    parties.client, NULL);
	assert_true(connects.count == 3);
	assert_true(connects.sum >= 3 * 1.0 && connects.sum < 3 * 1.2);
	assert_true(retransmits_of(page, parties.client) == 3);
	page_free(page);
	(void)state;
}

/* ---- failures ---- */

#define SILENT_PORT	7001
#define CLOSED_WAY_PORT 7002
#define REFUSED		211
#define ABORTED		17
#define NO_PORT		5

static void give_up_at_once(void)
{
	struct sockaddr_in silent = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(SILENT_PORT),
	};
	int s = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	if (connect(s, (struct sockaddr *)&silent, sizeof(silent)) == 0 || errno != EINPROGRESS)
		_exit(110);
	close(s);
}

/* Two ports to choose from, both in use towards this listener. */
static void run_out_of_ports(void)
{
	int port, listener = listen_on_loopback(AF_INET, &port),
		  range = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY);

	MUST(range);
	MUST(write(range, "40000 40001", 11));
	close(range);
	connect_to_loopback(AF_INET, port);
	connect_to_loopback(AF_INET, port);
	for (int i = 0; i < NO_PORT; i++)
		if (try_to_connect(port) != -EADDRNOTAVAIL)
			_exit(111);
	close(listener);
}

static int fail_in_every_way(void *argument, void *shared)
{
	int port, listener;

	(void)shared;
	MUST(network_enter(argument));
	listener = listen_on_loopback(AF_INET, &port);
	close(listener);
	for (int i = 0; i < REFUSED; i++)
		if (try_to_connect(port) != -ECONNREFUSED)
			_exit(112);
	for (int i = 0; i < ABORTED; i++)
		give_up_at_once();
	if (try_to_connect(CLOSED_WAY_PORT) != -EHOSTUNREACH)
		_exit(113);
	if (try_to_connect(SILENT_PORT) != -ETIMEDOUT)
		_exit(114);
	run_out_of_ports();
	return 0;
}

static void failures_have_a_reason(void **state)
{
	const struct network *network = lossy_network();
	struct leadline *leadline = start_agent();
	struct workload *workload;
	struct page *page;

	shell("ip netns exec %s sh -c 'echo 1 > /proc/sys/net/ipv4/tcp_syn_retries'",
	      network->name);
	add_rule(network, "--dport %d -j DROP", SILENT_PORT);
	add_rule(network, "--dport %d -j REJECT --reject-with icmp-host-unreachable",
		 CLOSED_WAY_PORT);
	workload = workload_start("failing", -1, fail_in_every_way, (void *)network);
	workload_finish(workload, 60);

	page = leadline_scrape(leadline);
	assert_true(failed(page, workload->comm, "refused") == REFUSED);
	assert_true(failed(page, workload->comm, "aborted") == ABORTED);
	assert_true(failed(page, workload->comm, "unreachable") == 1);
	assert_true(failed(page, workload->comm, "timeout") == 1);
	assert_true(failed(page, workload->comm, "local") == NO_PORT);
	assert_true(failed(page, workload->comm, "reset") == 0);
	assert_true(failed(page, workload->comm, "other") == 0);
	/* … and of the two connections that were never accepted. */
	assert_true(metric_sum(page, "leadline_tcp_resets_total", "comm", workload->comm,
			       "direction", "received", NULL) == REFUSED + 2);
	assert_true(metric_histogram(page, "leadline_tcp_connect_duration_seconds", "comm",
				     workload->comm, NULL)
			    .count == 2);
	page_free(page);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(retransmits_equal_the_kernels),
		HARNESS_TEST(fast_open_is_exact),
		HARNESS_TEST(a_lost_syn_shows_in_the_connect_duration),
		HARNESS_TEST(failures_have_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
