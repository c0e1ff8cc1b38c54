/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP requests and raw bytes to the loopback interface. */
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/harness/harness.h"

struct bytes {
	char *data;
	size_t size;
};

static size_t bytes_add(char *data, size_t size, size_t count, void *context)
{
	struct bytes *bytes = context;
	char *grown = realloc(bytes->data, bytes->size + size * count + 1);

	if (!grown)
		return 0;
	memcpy(grown + bytes->size, data, size * count);
	bytes->data = grown;
	bytes->size += size * count;
	grown[bytes->size] = '\0';
	return size * count;
}

struct answer *fetch(const char *method, const char *url, const char *const headers[],
		     const char *body)
{
	struct answer *answer = calloc(1, sizeof(*answer));
	struct bytes head = { 0 }, content = { 0 };
	struct curl_slist *list = NULL;
	CURL *curl = curl_easy_init();
	CURLcode code;

	if (!answer || !curl)
		abort();
	for (size_t i = 0; headers && headers[i]; i++)
		list = curl_slist_append(list, headers[i]);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(patience(10) * 1000));
	curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, answer->error);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, bytes_add);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &content);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, bytes_add);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, &head);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	if (method && !strcmp(method, "HEAD"))
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else if (method)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	code = curl_easy_perform(curl);
	if (code == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
	else if (!answer->error[0])
		snprintf(answer->error, sizeof(answer->error), "%s", curl_easy_strerror(code));
	curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME, &answer->seconds);
	curl_slist_free_all(list);
	curl_easy_cleanup(curl);
	answer->body = content.data ? content.data : calloc(1, 1);
	answer->size = content.size;
	answer->head = head.data ? head.data : calloc(1, 1);
	return answer;
}

void answer_free(struct answer *answer)
{
	if (!answer)
		return;
	free(answer->body);
	free(answer->head);
	free(answer);
}

const char *answer_header(const struct answer *answer, const char *name)
{
	static char value[1024];
	size_t length = strlen(name);

	for (const char *line = answer->head; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncasecmp(line, name, length) || line[length] != ':')
			continue;
		line += length + 1;
		while (*line == ' ')
			line++;
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(line, "\r\n"), line);
		return value;
	}
	return NULL;
}

static int connect_to(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((uint16_t)port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd >= 0 ? fd : -errno;
}

long send_raw(int port, const void *data, size_t data_size, char *reply, size_t size,
	      double seconds)
{
	double deadline = clock_seconds() + seconds;
	size_t sent = 0, got = 0;
	int fd = connect_to(port);

	if (fd < 0)
		return fd;
	while (sent < data_size) {
		ssize_t count = send(fd, (const char *)data + sent, data_size - sent, MSG_NOSIGNAL);

		if (count <= 0)
			break; /* closed on us: what it had to say is read below */
		sent += (size_t)count;
	}
	shutdown(fd, SHUT_WR);
	while (got + 1 < size) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		double rest = deadline - clock_seconds();
		ssize_t count;

		if (rest <= 0 || poll(&wait, 1, (int)(rest * 1000) + 1) <= 0)
			break;
		count = recv(fd, reply + got, size - 1 - got, 0);
		if (count <= 0)
			break;
		got += (size_t)count;
	}
	if (size)
		reply[got] = '\0';
	close(fd);
	return (long)got;
}

/* Below the range of ephemeral ports: no client of another test can take it, nor connect to itself there. */
int free_port(void)
{
	static unsigned serial;

	for (unsigned attempt = 0; attempt < 1000; attempt++) {
		unsigned port = 20000 + ((unsigned)getpid() * 37 + serial++) % 10000;
		struct sockaddr_in address = { .sin_family = AF_INET,
					       .sin_port = htons((uint16_t)port),
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int failed = fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address));

		if (fd >= 0)
			close(fd);
		if (!failed)
			return (int)port;
	}
	test_fail("no free port");
}

bool port_open(int port)
{
	int fd = connect_to(port);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}
