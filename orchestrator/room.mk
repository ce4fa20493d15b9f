LIB_SRCS += $(addprefix orchestrator/,plan.c plan_engine.c plan_print.c plan_target.c plan_workloads.c predict.c samples.c history.c steps.c logfile.c journal.c events.c lock.c context.c \
	lanes.c fire.c worker.c runner.c upgrade.c report.c health.c step_01_preflight.c step_02_reserve.c step_03_spawn.c \
	step_04_handshake.c step_05_probe.c step_06_precopy.c step_07_freeze.c step_08_shift.c step_09_restore.c \
	step_10_commit.c step_11_settle.c step_12_retire.c)
UNIT += orchestrator_test orchestrator_journal plan_test predict_test history_test
