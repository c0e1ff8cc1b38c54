// SPDX-License-Identifier: Apache-2.0
/*
 * The network probe where packets and connections are refused: in a network namespace with rules, small buffers and short
 * queues of its own, compared with the kernel's counters of that namespace.
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
	return leadline_start_only("network", (const char *const[]){ NULL });
}

static const struct network *own_network(void)
{
	require_root();
	require_program("iptables");
	return network_create();
}

/* A counter of the namespace: of the pair of lines in a file under /proc/net that begin with `group`. */
static double kernel_counter(const struct network *network, const char *file, const char *group,
			     const char *name)
{
	struct output *output = run_shell(
		"ip netns exec %s awk '$1 == \"%s:\" && !n { for (i = 1; i <= NF; i++) "
		"if ($i == \"%s\") n = i; next } $1 == \"%s:\" { print $n }' /proc/net/%s",
		network->name, group, name, group, file);
	double value = atof(output->text);

	assert_int_equal(output->status, 0);
	output_free(output);
	return value;
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)port),
	};
}

static double dropped(const struct page *page, const char *reason)
{
	return metric_sum(page, "leadline_packet_drops_total", "reason", reason, NULL);
}

/* ---- packets ---- */

#define BARRED_PORT 7007
#define BARRED	    211
#define CLOSED_PORT 7013
#define UNHEARD	    307

static int send_in_vain(void *network, void *shared)
{
	struct sockaddr_in barred = loopback(BARRED_PORT), closed = loopback(CLOSED_PORT);
	int s;

	(void)shared;
	MUST(network_enter(network));
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	for (int i = 0; i < BARRED; i++)
		MUST(sendto(s, "x", 1, 0, (struct sockaddr *)&barred, sizeof(barred)));
	for (int i = 0; i < UNHEARD; i++)
		MUST(sendto(s, "x", 1, 0, (struct sockaddr *)&closed, sizeof(closed)));
	return 0;
}

/* The counters are the host's: others may drop packets meanwhile, but hardly by a firewall. */
static void drops_have_the_kernels_reason(void **state)
{
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	struct page *before = leadline_scrape(leadline), *after;
	struct workload *workload = workload_start("vain", -1, send_in_vain, (void *)network);

	shell("ip netns exec %s iptables -A INPUT -p udp --dport %d -j DROP", network->name,
	      BARRED_PORT);
	workload_finish(workload, 20);
	after = leadline_scrape(leadline);
	assert_true(dropped(after, "NETFILTER_DROP") - dropped(before, "NETFILTER_DROP") == BARRED);
	assert_true(kernel_counter(network, "snmp", "Udp", "NoPorts") == UNHEARD);
	assert_true(dropped(after, "NO_SOCKET") - dropped(before, "NO_SOCKET") >= UNHEARD);
	/* What was received, or is not dropped at all, is no drop. */
	assert_null(metric_find(after, "leadline_packet_drops_total", "reason", "CONSUMED", NULL));
	assert_null(metric_find(after, "leadline_packet_drops_total", "reason", "", NULL));
	assert_non_null(metric_find(after, "leadline_softnet_dropped_total", NULL));
	assert_non_null(metric_find(after, "leadline_softnet_time_squeeze_total", NULL));
	page_free(before);
	page_free(after);
	(void)state;
}

/* ---- datagrams ---- */

#define DATAGRAMS 503

static double udp_overflows(const struct page *page, const char *comm)
{
	return metric_sum(page, "leadline_udp_drops_total", "comm", comm, "reason",
			  "receive_buffer_full", NULL);
}

static void flood(int receiver)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	char datagram[100] = "";
	int s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

	MUST(getsockname(receiver, (struct sockaddr *)&address, &size));
	for (int i = 0; i < DATAGRAMS; i++)
		MUST(sendto(s, datagram, sizeof(datagram), 0, (struct sockaddr *)&address, size));
	close(s);
}

static int receive_too_little(void *network, void *shared)
{
	struct sockaddr_in address = loopback(0);
	const int small = 1;
	int s;

	(void)shared;
	MUST(network_enter(network));
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	MUST(bind(s, (struct sockaddr *)&address, sizeof(address)));
	flood(s);
	await_step();
	flood(s);
	await_step();
	return 0;
}

static bool overflows_are(struct leadline *leadline, const char *comm, double expected)
{
	struct page *page = leadline_scrape(leadline);
	bool equal = udp_overflows(page, comm) == expected;

	page_free(page);
	return equal;
}

static void full_buffers_are_counted_for_their_owner(void **state)
{
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	struct workload *workload = steps_start("deaf", receive_too_little, (void *)network);
	double first = kernel_counter(network, "snmp", "Udp", "RcvbufErrors"), both;

	assert_true(first > DATAGRAMS / 2 && first < DATAGRAMS);
	/* From before the owner was known, and after. */
	assert_true(WAIT_UNTIL(overflows_are(leadline, workload->comm, first), 20));
	steps_next();
	both = kernel_counter(network, "snmp", "Udp", "RcvbufErrors");
	assert_true(both > first);
	assert_true(overflows_are(leadline, workload->comm, both));
	steps_finish(workload);
	assert_true(overflows_are(leadline, workload->comm, both));
	(void)state;
}

static int receive_too_little_and_go(void *network, void *shared)
{
	struct sockaddr_in address = loopback(0);
	const int small = 1;
	int s;

	(void)shared;
	MUST(network_enter(network));
	s = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	MUST(bind(s, (struct sockaddr *)&address, sizeof(address)));
	flood(s);
	return 0;
}

static double all_udp_overflows(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	double drops =
		metric_sum(page, "leadline_udp_drops_total", "reason", "receive_buffer_full", NULL);

	page_free(page);
	return drops;
}

static void drops_of_a_closed_socket_are_not_lost(void **state)
{
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	double before = all_udp_overflows(leadline), kernel;

	workload_finish(workload_start("gone", -1, receive_too_little_and_go, (void *)network), 20);
	kernel = kernel_counter(network, "snmp", "Udp", "RcvbufErrors");
	assert_true(kernel > 0);
	assert_true(WAIT_UNTIL(all_udp_overflows(leadline) - before >= kernel, 10));
	(void)state;
}

/* ---- listening sockets ---- */

#define BACKLOG	   5
#define ROOM	   (BACKLOG + 1) /* the kernel takes one more */
#define CALLERS	   11
#define STRAYS	   13
#define LONG_QUEUE 9

struct port {
	int number;
};

static double of_port(const struct page *page, const char *metric, const struct workload *workload)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", ((struct port *)workload->shared)->number);
	return metric_sum(page, metric, "comm", workload->comm, "port", port, NULL);
}

static int call(int port)
{
	struct sockaddr_in address = loopback(port);
	int s = (int)MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));

	if (connect(s, (struct sockaddr *)&address, sizeof(address)) && errno != EINPROGRESS)
		_exit(110);
	return s;
}

static uint16_t checksum(const struct tcphdr *header)
{
	/* The pseudo header: both addresses, protocol, length. */
	uint32_t sum = 2 * (INADDR_LOOPBACK >> 16) + 2 * (INADDR_LOOPBACK & 0xffff) + IPPROTO_TCP +
		       sizeof(*header);
	uint16_t words[sizeof(*header) / 2];

	memcpy(words, header, sizeof(*header));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum += ntohs(words[i]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* Segments that belong to no connection: the listening socket drops them, but nobody wanted to connect. */
static void send_strays(int port, bool reset, bool acknowledge, bool finish)
{
	struct sockaddr_in address = loopback(0);
	int s = (int)MUST(socket(AF_INET, SOCK_RAW, IPPROTO_TCP));

	for (int i = 0; i < STRAYS; i++) {
		struct tcphdr header = {
			.source = htons((uint16_t)(50000 + i)),
			.dest = htons((uint16_t)port),
			.doff = sizeof(header) / 4,
			.rst = reset,
			.ack = acknowledge,
			.fin = finish,
		};

		header.check = checksum(&header);
		MUST(sendto(s, &header, sizeof(header), 0, (struct sockaddr *)&address,
			    sizeof(address)));
	}
	close(s);
}

static int listen_with(int backlog, struct port *port)
{
	int listener = listen_on_loopback(AF_INET, &port->number);

	MUST(listen(listener, backlog));
	MUST(fcntl(listener, F_SETFL, O_NONBLOCK));
	return listener;
}

static void empty_queue(int listener, int expected)
{
	for (int i = 0; i < expected; i++)
		close((int)MUST(accept(listener, NULL, NULL)));
	if (accept(listener, NULL, NULL) >= 0 || errno != EAGAIN)
		_exit(111);
}

/* The SYN finds the accept queue full. */
static void overrun_at_the_start(int port, int callers[CALLERS])
{
	for (int i = 0; i < CALLERS; i++)
		callers[i] = call(port);
}

/*
 * The last step of the handshake does: it was held up by a rule while others came. Of those held up some are
 * kept as requests, for the others, as these are too many, there is a SYN cookie.
 */
static void overrun_at_the_end(const int callers[CALLERS], int others[ROOM], int port)
{
	for (int i = 0; i < ROOM; i++)
		others[i] = call(port);
	for (int i = 0; i < CALLERS; i++)
		MUST(send(callers[i], "x", 1, 0));
}

static void hang_up(const int *sockets, int n)
{
	for (int i = 0; i < n; i++)
		close(sockets[i]);
}

static int be_overrun(void *network, void *shared)
{
	struct port *port = shared;
	int listener, callers[CALLERS], others[ROOM];

	MUST(network_enter(network));
	listener = listen_with(BACKLOG, port);
	overrun_at_the_start(port->number, callers);
	await_step();
	hang_up(callers, CALLERS);
	send_strays(port->number, true, false, false);
	send_strays(port->number, false, true, false);
	send_strays(port->number, false, false, true);
	empty_queue(listener, ROOM);
	await_step();
	overrun_at_the_start(port->number, callers);
	await_step();
	overrun_at_the_end(callers, others, port->number);
	await_step();
	hang_up(callers, CALLERS);
	hang_up(others, ROOM);
	await_step();
	return 0;
}

static bool overflows_equal_the_kernels(struct leadline *leadline, const struct network *network,
					const struct workload *workload)
{
	double kernel = kernel_counter(network, "netstat", "TcpExt", "ListenOverflows");
	struct page *page = leadline_scrape(leadline);
	double ours = of_port(page, "leadline_tcp_listen_overflows_total", workload);

	page_free(page);
	assert_true(kernel_counter(network, "netstat", "TcpExt", "ListenDrops") >= kernel);
	if (ours != kernel)
		print_message("overflows: the kernel %.0f, leadline %.0f\n", kernel, ours);
	return ours == kernel && kernel > 0;
}

/*
 * Where packets a listening socket drops cannot be told from overflows, there are no overflows, not wrong ones: false.
 */
static bool overflows_are_told(struct leadline *leadline)
{
	struct page *page;

	if (!leadline_logged(leadline, "no listen overflows"))
		return true;
	page = leadline_scrape(leadline);
	assert_int_equal(metric_count(page, "leadline_tcp_listen_overflows_total", NULL), 0);
	page_free(page);
	return false;
}

static void a_full_queue_shows_and_its_overflows_equal_the_kernels(void **state)
{
	static const char rule[] = "INPUT -i lo -p tcp --tcp-flags SYN,RST,ACK ACK -j DROP";
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	struct workload *workload = steps_start("busy", be_overrun, (void *)network);
	double at_first;
	struct page *page;

	page = leadline_scrape(leadline);
	assert_true(of_port(page, "leadline_tcp_listen_queue_ratio", workload) == 1);
	assert_true(of_port(page, "leadline_tcp_listen_queue_max_ratio", workload) == 1);
	if (!overflows_are_told(leadline))
		test_skip("this kernel does not tell which socket dropped a packet");
	at_first = of_port(page, "leadline_tcp_listen_overflows_total", workload);
	assert_true(at_first >= CALLERS - ROOM);
	page_free(page);

	steps_next();
	assert_true(overflows_equal_the_kernels(leadline, network, workload));
	page = leadline_scrape(leadline);
	assert_true(of_port(page, "leadline_tcp_listen_queue_ratio", workload) == 0);
	assert_true(of_port(page, "leadline_tcp_listen_queue_max_ratio", workload) == 1);
	page_free(page);

	shell("ip netns exec %s iptables -A %s", network->name, rule);
	steps_next();
	shell("ip netns exec %s iptables -D %s", network->name, rule);
	steps_next();
	steps_next();
	assert_true(kernel_counter(network, "netstat", "TcpExt", "ListenOverflows") >=
		    at_first + CALLERS - ROOM);
	assert_true(WAIT_UNTIL(overflows_equal_the_kernels(leadline, network, workload), 20));
	page = leadline_scrape(leadline);
	/* So there were requests, not only cookies; before 6.15 the kernel does not say what for it drops their end. */
	assert_true(dropped(page, "TCP_LISTEN_OVERFLOW") + dropped(page, "NOT_SPECIFIED") > 0);
	page_free(page);
	steps_finish(workload);
	assert_true(WAIT_UNTIL(overflows_equal_the_kernels(leadline, network, workload), 20));
	(void)state;
}

static int be_called_again(void *network, void *shared)
{
	struct port *port = shared;

	MUST(network_enter(network));
	listen_with(BACKLOG, port);
	call(port->number);
	await_step();
	return 0;
}

/* The answer to the SYN gets lost, so it comes again: the socket drops it, but not for want of room. */
static void a_lost_answer_is_no_overflow(void **state)
{
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	struct page *page = leadline_scrape(leadline);
	double before = dropped(page, "NOT_SPECIFIED");
	struct workload *workload;

	page_free(page);
	shell("ip netns exec %s iptables -A INPUT -i lo -p tcp --tcp-flags SYN,ACK SYN,ACK -j DROP",
	      network->name);
	workload = steps_start("again", be_called_again, (void *)network);
	assert_true(WAIT_UNTIL(kernel_counter(network, "snmp", "Tcp", "InSegs") >= 2, 20));
	assert_true(kernel_counter(network, "netstat", "TcpExt", "ListenOverflows") == 0);
	if (!overflows_are_told(leadline))
		test_skip("this kernel does not tell which socket dropped a packet");
	page = leadline_scrape(leadline);
	assert_true(dropped(page, "NOT_SPECIFIED") > before);
	assert_true(of_port(page, "leadline_tcp_listen_overflows_total", workload) == 0);
	page_free(page);
	steps_finish(workload);
	(void)state;
}

static int be_overrun_and_go(void *network, void *shared)
{
	struct port *port = shared;
	int listener, callers[LONG_QUEUE];

	MUST(network_enter(network));
	listener = listen_with(LONG_QUEUE, port);
	for (int i = 0; i < LONG_QUEUE / 2; i++)
		callers[i] = call(port->number);
	empty_queue(listener, LONG_QUEUE / 2);
	for (int i = 0; i < LONG_QUEUE / 2; i++)
		close(callers[i]);
	close(listener);
	listener = listen_with(0, &port[1]);
	callers[0] = call(port[1].number);
	callers[1] = call(port[1].number);
	return 0;
}

/* Nothing of it is there any more at the scrape. */
static void a_short_rush_is_not_missed(void **state)
{
	const struct network *network = own_network();
	struct leadline *leadline = start_agent();
	struct workload *workload = workload_start("rush", -1, be_overrun_and_go, (void *)network);
	const struct port *ports = workload->shared;
	struct page *page;
	char second[16];

	workload_finish(workload, 20);
	snprintf(second, sizeof(second), "%d", ports[1].number);
	page = leadline_scrape(leadline);
	assert_true(of_port(page, "leadline_tcp_listen_queue_ratio", workload) == 0);
	assert_true(of_port(page, "leadline_tcp_listen_queue_max_ratio", workload) ==
		    (double)(LONG_QUEUE / 2) / (LONG_QUEUE + 1));
	if (overflows_are_told(leadline)) {
		assert_true(of_port(page, "leadline_tcp_listen_overflows_total", workload) == 0);
		assert_true(metric_value(page, "leadline_tcp_listen_overflows_total", "comm",
					 workload->comm, "port", second, NULL) == 1);
		assert_true(metric_value(page, "leadline_tcp_listen_queue_max_ratio", "comm",
					 workload->comm, "port", second, NULL) == 1);
	}
	page_free(page);
	(void)state;
}

static int listen_for_long(void *network, void *shared)
{
	int listener;

	MUST(network_enter(network));
	listener = listen_with(2, shared);
	call(((struct port *)shared)->number);
	await_step();
	call(((struct port *)shared)->number);
	(void)listener;
	await_step();
	return 0;
}

static void listening_sockets_older_than_the_agent_are_known(void **state)
{
	const struct network *network = own_network();
	struct workload *workload = steps_start("older", listen_for_long, (void *)network);
	struct leadline *leadline = start_agent();
	struct page *page = leadline_scrape(leadline);

	assert_true(of_port(page, "leadline_tcp_listen_queue_ratio", workload) == 1.0 / 3);
	page_free(page);
	steps_next();
	page = leadline_scrape(leadline);
	assert_true(of_port(page, "leadline_tcp_listen_queue_ratio", workload) == 2.0 / 3);
	page_free(page);
	steps_finish(workload);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(drops_have_the_kernels_reason),
		HARNESS_TEST(full_buffers_are_counted_for_their_owner),
		HARNESS_TEST(drops_of_a_closed_socket_are_not_lost),
		HARNESS_TEST(a_full_queue_shows_and_its_overflows_equal_the_kernels),
		HARNESS_TEST(a_lost_answer_is_no_overflow),
		HARNESS_TEST(a_short_rush_is_not_missed),
		HARNESS_TEST(listening_sockets_older_than_the_agent_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
