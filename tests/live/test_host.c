// SPDX-License-Identifier: Apache-2.0
/* The host probe against what this test does to the host, and against what other interfaces of the kernel say. */
#include <arpa/inet.h>
#include <math.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include "tests/harness/harness.h"

static double thread_cpu_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

#define BURNT_SECONDS 1.7

static int burn(void *argument, void *shared)
{
	while (thread_cpu_seconds() < BURNT_SECONDS)
		;
	return 0;
}

static double cpu_seconds(const struct page *page, const char *mode)
{
	return mode ? metric_value(page, "leadline_host_cpu_seconds_total", "mode", mode, NULL)
		    : metric_sum(page, "leadline_host_cpu_seconds_total", NULL);
}

/* Of the first line of /proc/stat, without guest time, which user time includes. */
struct kernel_seconds {
	double all, busy;
};

static struct kernel_seconds kernel_seconds(void)
{
	char *text = read_file("/proc/stat");
	double fields[8], sum = 0, tick = 1.0 / (double)sysconf(_SC_CLK_TCK);

	assert_int_equal(sscanf(text, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &fields[0], &fields[1],
				&fields[2], &fields[3], &fields[4], &fields[5], &fields[6],
				&fields[7]),
			 8);
	free(text);
	for (int i = 0; i < 8; i++)
		sum += fields[i];
	return (struct kernel_seconds){ .all = sum * tick,
					.busy = (sum - fields[3] - fields[4]) * tick };
}

/* The two are read some milliseconds apart, at both ends. */
static void expect_the_kernels(const char *what, double seconds, double kernel)
{
	if (fabs(seconds - kernel) > 0.02 * kernel + patience(0.1))
		test_fail("%.2f s %s, /proc/stat has %.2f s", seconds, what, kernel);
}

static void cpu_time_is_all_there(void **state)
{
	struct leadline *leadline = leadline_start_only("host", NULL);
	struct workload *workload = workload_start("burn", 0, burn, NULL);
	struct page *before, *after;
	struct kernel_seconds at_first, at_last;
	double busy, all, ratio;

	before = leadline_scrape(leadline);
	at_first = kernel_seconds();
	workload_release(workload);
	workload_finish(workload, 60);
	after = leadline_scrape(leadline);
	at_last = kernel_seconds();
	all = cpu_seconds(after, NULL) - cpu_seconds(before, NULL);
	busy = all - (cpu_seconds(after, "idle") - cpu_seconds(before, "idle")) -
	       (cpu_seconds(after, "iowait") - cpu_seconds(before, "iowait"));
	expect_the_kernels("of CPU time", all, at_last.all - at_first.all);
	expect_the_kernels("busy", busy, at_last.busy - at_first.busy);
	/* The kernel counts ticks, of which an emulated CPU misses some. */
	if (!is_emulated() && busy < BURNT_SECONDS * 0.9)
		test_fail("%.2f s busy, %.2f s were burnt", busy, BURNT_SECONDS);
	ratio = metric_value(after, "leadline_host_cpu_utilization_ratio", NULL);
	assert_true(ratio > 0 && ratio <= 1);
	assert_int_equal(metric_value(after, "leadline_host_cpus", NULL),
			 sysconf(_SC_NPROCESSORS_ONLN));
	page_free(before);
	page_free(after);
	leadline_stop(leadline);
}

static void unmount(void *context)
{
	umount2(context, MNT_DETACH);
}

static bool shows_filesystem(struct leadline *leadline, const char *mountpoint)
{
	struct page *page = leadline_scrape(leadline);
	size_t n = metric_count(page, "leadline_host_filesystem_size_bytes", "mountpoint",
				mountpoint, NULL);

	page_free(page);
	return n == 1;
}

static void filesystems_come_and_go(void **state)
{
	struct leadline *leadline = leadline_start_only("host", NULL);
	char *directory = strdup(temporary_directory()), *again = strdup(temporary_directory());
	const char *device = loop_device(64);
	struct statvfs now;
	struct page *page;
	double size, available, ratio;

	shell("mkfs.ext4 -q %s", device);
	assert_false(shows_filesystem(leadline, directory));
	shell("mount -t ext4 %s %s", device, directory);
	cleanup_push(unmount, directory);
	shell("mount --bind %s %s", directory, again);
	cleanup_push(unmount, again);
	shell("fallocate -l 13M %s/file && sync -f %s", directory, directory);
	page = leadline_scrape(leadline);
	assert_int_equal(statvfs(directory, &now), 0);
	size = metric_value(page, "leadline_host_filesystem_size_bytes", "mountpoint", directory,
			    "device", device, "fstype", "ext4", NULL);
	available = metric_value(page, "leadline_host_filesystem_available_bytes", "mountpoint",
				 directory, NULL);
	ratio = metric_value(page, "leadline_host_filesystem_utilization_ratio", "mountpoint",
			     directory, NULL);
	assert_float_equal(size, (double)now.f_blocks * (double)now.f_frsize, 0);
	assert_float_equal(available, (double)now.f_bavail * (double)now.f_frsize, 0);
	assert_float_equal(ratio,
			   (double)(now.f_blocks - now.f_bfree) /
				   (double)(now.f_blocks - now.f_bfree + now.f_bavail),
			   1e-9);
	assert_float_equal(metric_value(page, "leadline_host_filesystem_inodes_free", "mountpoint",
					directory, NULL),
			   (double)now.f_ffree, 0);
	/* Bound to a second place it is still one filesystem. */
	assert_int_equal(
		metric_count(page, "leadline_host_filesystem_size_bytes", "device", device, NULL),
		1);
	page_free(page);

	shell("umount %s && mount -o remount,ro %s", again, directory);
	page = leadline_scrape(leadline);
	assert_float_equal(metric_value(page, "leadline_host_filesystem_readonly", "mountpoint",
					directory, NULL),
			   1, 0);
	page_free(page);
	shell("umount %s", directory);
	assert_false(shows_filesystem(leadline, directory));
	leadline_stop(leadline);
	cleanup_run();
	free(directory);
	free(again);
}

static double interface_counter(const char *interface, const char *name)
{
	char path[128], *text;
	double value;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", interface, name);
	text = read_file(path);
	value = atof(text);
	free(text);
	return value;
}

#define PACKETS 997
#define PAYLOAD 1009

/* To the port nobody listens at. */
static void send_packets(const struct network *network, int n)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	char payload[PAYLOAD] = "";
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(inet_pton(AF_INET, network->peer_address, &to.sin_addr), 1);
	for (int i = 0; i < n; i++)
		assert_int_equal(
			sendto(fd, payload, PAYLOAD, 0, (struct sockaddr *)&to, sizeof(to)),
			PAYLOAD);
	close(fd);
}

static void interface_bytes_are_the_kernels(void **state)
{
	struct network *network = network_create();
	struct leadline *leadline = leadline_start_only(
		"host", (const char *[]){ "--probes.host.exclude_interfaces=nothing", NULL });
	double bytes_before, bytes_after, packets;
	struct page *before = leadline_scrape(leadline), *after;

	send_packets(network, 1);
	assert_true(WAIT_UNTIL(interface_counter(network->interface, "rx_packets") > 0,
			       5)); /* the address is resolved */
	send_packets(network, PACKETS);
	bytes_before = interface_counter(network->interface, "tx_bytes");
	after = leadline_scrape(leadline);
	bytes_after = interface_counter(network->interface, "tx_bytes");
	packets = metric_value(after, "leadline_host_network_packets_total", "interface",
			       network->interface, "direction", "transmit", NULL) -
		  metric_value(before, "leadline_host_network_packets_total", "interface",
			       network->interface, "direction", "transmit", NULL);
	/* Besides them only neighbour discovery. */
	if (packets < PACKETS || packets > PACKETS + 30)
		test_fail("%.0f packets for %d", packets, PACKETS);
	packets = metric_value(after, "leadline_host_network_bytes_total", "interface",
			       network->interface, "direction", "transmit", NULL);
	assert_true(packets >= bytes_before && packets <= bytes_after);
	page_free(before);
	page_free(after);
	leadline_stop(leadline);
}

static void excluded_interfaces_are_absent(void **state)
{
	struct network *network = network_create();
	char flag[64];
	struct leadline *leadline;
	struct page *page;

	snprintf(flag, sizeof(flag), "--probes.host.exclude_interfaces=foo,%.8s*",
		 network->interface);
	leadline = leadline_start_only("host", (const char *[]){ flag, NULL });
	page = leadline_scrape(leadline);
	assert_int_equal(metric_count(page, "leadline_host_network_bytes_total", "interface",
				      network->interface, NULL),
			 0);
	assert_int_equal(
		metric_count(page, "leadline_host_network_bytes_total", "interface", "lo", NULL),
		2);
	page_free(page);
	leadline_stop(leadline);
}

/* A kernel without pressure files, as the probe sees one: said, degraded, and no zeroes. */
static void missing_pressure_is_said(void **state)
{
	const char *directory = temporary_directory();
	struct leadline *leadline;
	struct answer *answer;
	struct page *page;
	char flag[300];

	shell("cd %s && ln -s /proc/stat /proc/meminfo . && mkdir -p sys/fs net 1/net && "
	      "ln -s /proc/sys/fs/file-nr sys/fs/ && ln -s /proc/1/net/dev 1/net/ && ln -s /proc/1/mountinfo 1/",
	      directory);
	snprintf(flag, sizeof(flag), "--probes.host.procfs=%s", directory);
	leadline = leadline_start_only("host", (const char *[]){ flag, NULL });
	page = leadline_scrape(leadline);
	assert_float_equal(metric_value(page, "leadline_probe_up", "probe", "host", NULL), 1, 0);
	assert_float_equal(metric_value(page, "leadline_probe_degraded", "probe", "host", NULL), 1,
			   0);
	assert_int_equal(metric_count(page, "leadline_host_pressure_seconds_total", NULL), 0);
	assert_true(metric_value(page, "leadline_host_memory_total_bytes", NULL) > 0);
	page_free(page);
	assert_true(WAIT_UNTIL(({
				       answer = leadline_fetch(leadline, NULL, "/health/detailed",
							       NULL, NULL);
				       bool said = strstr(answer->body, "boot with psi=1") != NULL;
				       answer_free(answer);
				       said;
			       }),
			       10));
	leadline_stop(leadline);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(cpu_time_is_all_there),
		HARNESS_TEST(filesystems_come_and_go),
		HARNESS_TEST(interface_bytes_are_the_kernels),
		HARNESS_TEST(excluded_interfaces_are_absent),
		HARNESS_TEST(missing_pressure_is_said),
	};

	return cmocka_run_group_tests_name("host, live", tests, NULL, NULL);
}
