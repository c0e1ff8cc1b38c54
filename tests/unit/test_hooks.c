// SPDX-License-Identifier: Apache-2.0
/* Hook selection over kernels stated literally. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "agent/caps.h"

/* A kernel with one tracepoint, sched_switch, of so many arguments (-1: none), and one function, tcp_sendmsg. */
static int tracepoint_args(const void *context, const char *name)
{
	return strcmp(name, "sched_switch") ? -1 : *(const int *)context;
}

static bool has_function(const void *context, const char *name)
{
	return !strcmp(name, "tcp_sendmsg");
}

static struct kernel_offers kernel(const int *args, bool fentry, bool kprobe)
{
	struct kernel_offers offers = { .context = args,
					.tracepoint_args = tracepoint_args,
					.has_function = has_function };

	offers.kind_works[HOOK_TP_BTF] = offers.kind_works[HOOK_ITER] = true;
	offers.kind_works[HOOK_FENTRY] = offers.kind_works[HOOK_FEXIT] = fentry;
	offers.kind_works[HOOK_KPROBE] = kprobe;
	offers.kind_why_not[HOOK_FEXIT] = "functions cannot be traced";
	return offers;
}

static const struct hook switches = {
	"switches",
	true,
	"times",
	{ { "with_state", HOOK_TP_BTF, "sched_switch", 4 },
	  { "without_state", HOOK_TP_BTF, "sched_switch", 3 } },
};

static const struct hook sends = {
	"sends",
	true,
	"requests",
	{ { "by_tracepoint", HOOK_TP_BTF, "sock_send_length", 3 },
	  { "by_fexit", HOOK_FEXIT, "tcp_sendmsg", 0 },
	  { "by_kprobe", HOOK_KPROBE, "tcp_sendmsg", 0 } },
};

static const char *select_program(const struct hook *hook, struct kernel_offers offers)
{
	struct hook_choice choice = hook_select(hook, &offers);

	return choice.alternative ? choice.alternative->program : NULL;
}

static void test_prototype_decides(void **state)
{
	const int new_kernel = 4, old_kernel = 3, none = -1;

	assert_string_equal(select_program(&switches, kernel(&new_kernel, false, false)),
			    "with_state");
	assert_string_equal(select_program(&switches, kernel(&old_kernel, false, false)),
			    "without_state");
	assert_null(select_program(&switches, kernel(&none, true, true)));
}

static void test_order_of_preference(void **state)
{
	const int args = 4;

	assert_string_equal(select_program(&sends, kernel(&args, true, true)), "by_fexit");
	assert_string_equal(select_program(&sends, kernel(&args, false, true)), "by_kprobe");
	assert_null(select_program(&sends, kernel(&args, false, false)));
}

static void test_reason_is_that_of_the_preferred_one(void **state)
{
	const int args = 4, few = 2;
	struct kernel_offers offers = kernel(&args, false, false);
	struct hook_choice choice = hook_select(&sends, &offers);

	assert_string_equal(choice.why_not, "this kernel has no tracepoint sock_send_length");
	offers = kernel(&few, false, false);
	choice = hook_select(&switches, &offers);
	assert_string_equal(choice.why_not,
			    "tracepoint sched_switch has 2 arguments here, 4 are needed");
}

static void test_too_many_arguments(void **state)
{
	static const struct hook changed = {
		"x",
		true,
		"y",
		{ { "new", HOOK_TP_BTF, "sched_switch", .min_args = 6 },
		  { "old", HOOK_TP_BTF, "sched_switch", .min_args = 4, .max_args = 4 } }
	};
	const int old_kernel = 4, between = 5, new_kernel = 6;
	static const struct hook only_old = { "x",
					      true,
					      "y",
					      { { "old", HOOK_TP_BTF, "sched_switch", .min_args = 4,
						  .max_args = 4 } } };
	struct kernel_offers offers = kernel(&new_kernel, true, true);

	assert_string_equal(select_program(&changed, kernel(&old_kernel, true, true)), "old");
	assert_null(select_program(&changed, kernel(&between, true, true)));
	assert_string_equal(select_program(&changed, kernel(&new_kernel, true, true)), "new");
	assert_string_equal(hook_select(&only_old, &offers).why_not,
			    "tracepoint sched_switch has 6 arguments here, 4 are expected");
}

/* The choice of `sends` on a kernel with functions and kprobes but no tracepoint, with `avoid` set. */
static const char *select_avoiding(const char *avoid)
{
	const int args = 4;
	struct kernel_offers offers = kernel(&args, true, true);

	offers.avoid = avoid;
	return select_program(&sends, offers);
}

static void test_avoided(void **state)
{
	const int args = 4;
	struct kernel_offers offers = kernel(&args, true, true);

	assert_string_equal(select_avoiding(""), "by_fexit");
	assert_string_equal(select_avoiding("fexit"), "by_kprobe");
	assert_string_equal(select_avoiding("by_fexit"), "by_kprobe");
	assert_string_equal(select_avoiding(" , tp_btf ,by_fexit,"), "by_kprobe");
	assert_string_equal(select_avoiding("kprobe"), "by_fexit");
	assert_null(select_avoiding("tcp_sendmsg"));
	assert_null(select_avoiding("kprobe fexit"));
	/* whole words only */
	assert_string_equal(select_avoiding("fexi,fexits,tcp_sendms,by"), "by_fexit");

	offers.avoid = "sched_switch";
	assert_string_equal(hook_select(&switches, &offers).why_not,
			    "tp_btf sched_switch is not to be used (hooks.avoid)");
	assert_string_equal(hook_select(&sends, &offers).alternative->program, "by_fexit");
}

static void test_kind_that_does_not_work_says_why(void **state)
{
	static const struct hook only_fexit = {
		"x", true, "y", { { "f", HOOK_FEXIT, "tcp_sendmsg", 0 } }
	};
	const int args = 4;
	struct kernel_offers offers = kernel(&args, false, false);

	assert_string_equal(hook_select(&only_fexit, &offers).why_not,
			    "fexit tcp_sendmsg: functions cannot be traced");
	offers = kernel(&args, true, false);
	assert_string_equal(hook_select(&only_fexit, &offers).why_not, "");
}

static void test_needed_only_where_present(void **state)
{
	static const struct hook old_way = {
		"x",
		false,
		"y",
		.where_present = true,
		.alternatives = { { "f", HOOK_FEXIT, "no_such_function", 0 } },
	};
	static const struct hook present = {
		"x",
		false,
		"y",
		.where_present = true,
		.alternatives = { { "f", HOOK_FEXIT, "tcp_sendmsg", 0 } },
	};
	const int args = 4;
	struct kernel_offers without = kernel(&args, false, true), with = kernel(&args, true, true);
	struct hook_choice choice = hook_select(&old_way, &without);

	assert_null(choice.alternative);
	assert_true(choice.not_needed);
	assert_string_equal(choice.why_not, "");
	choice = hook_select(&present, &without);
	assert_null(choice.alternative);
	assert_false(choice.not_needed);
	assert_string_equal(choice.why_not, "fexit tcp_sendmsg: functions cannot be traced");
	choice = hook_select(&present, &with);
	assert_string_equal(choice.alternative->program, "f");
	assert_false(choice.not_needed);
}

/* What another hook sees already, by a way this kernel has and that is not to be avoided. */
static void test_not_needed_beside_another(void **state)
{
	static const struct hook_alternative all = { "all", HOOK_TP_BTF, "sched_switch", 3 };
	static const struct hook some = {
		"x",
		false,
		"y",
		.unless = &all,
		.alternatives = { { "some", HOOK_FEXIT, "tcp_sendmsg", 0 } },
	};
	const int args = 3, too_few = 2, none = -1;
	struct kernel_offers offers = kernel(&args, true, true);
	struct hook_choice choice = hook_select(&some, &offers);

	assert_null(choice.alternative);
	assert_true(choice.not_needed);
	assert_string_equal(choice.why_not, "");
	offers.avoid = "all";
	assert_string_equal(select_program(&some, offers), "some");
	assert_string_equal(select_program(&some, kernel(&too_few, true, true)), "some");
	assert_string_equal(select_program(&some, kernel(&none, true, true)), "some");
	offers = kernel(&none, false, true);
	choice = hook_select(&some, &offers);
	assert_null(choice.alternative);
	assert_false(choice.not_needed);
	assert_string_equal(choice.why_not, "fexit tcp_sendmsg: functions cannot be traced");
}

static void test_unknown_function(void **state)
{
	static const struct hook wrong = {
		"x", true, "y", { { "f", HOOK_FENTRY, "no_such_function", 0 } }
	};
	const int args = 4;
	struct kernel_offers offers = kernel(&args, true, true);
	struct hook_choice choice = hook_select(&wrong, &offers);

	assert_null(choice.alternative);
	assert_string_equal(choice.why_not, "this kernel has no function no_such_function");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prototype_decides),
		cmocka_unit_test(test_order_of_preference),
		cmocka_unit_test(test_reason_is_that_of_the_preferred_one),
		cmocka_unit_test(test_too_many_arguments),
		cmocka_unit_test(test_avoided),
		cmocka_unit_test(test_kind_that_does_not_work_says_why),
		cmocka_unit_test(test_needed_only_where_present),
		cmocka_unit_test(test_not_needed_beside_another),
		cmocka_unit_test(test_unknown_function),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
