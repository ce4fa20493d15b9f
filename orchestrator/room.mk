LIB_SRCS += $(addprefix orchestrator/,plan.c plan_engine.c plan_print.c plan_target.c plan_workloads.c plan_canary.c predict.c converge.c gates.c samples.c history.c steps.c logfile.c journal.c events.c lock.c context.c \
	lanes.c fire.c worker.c runner.c upgrade.c canary.c canary_judge.c canary_shadow.c canary_replay.c step_canary_load.c step_canary_shadow.c step_canary_replay.c report.c health.c record.c step_01_preflight.c step_02_reserve.c step_03_spawn.c \
	step_04_handshake.c step_05_probe.c step_06_precopy.c step_07_freeze.c step_08_shift.c step_09_restore.c \
	step_10_commit.c step_11_settle.c step_12_retire.c)
# canary_test and canary_replay put real load on this machine, for a minute: make test-host, or make check-units UNIT=canary_test
UNIT += orchestrator_regression orchestrator_test orchestrator_journal orchestrator_converge orchestrator_gates plan_test plan_request canary_judge predict_test history_test
