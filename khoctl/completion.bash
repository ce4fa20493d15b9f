# bash completion for khoctl; made from its tables by gen-tables
_khoctl()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} opts=

	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "check gates record compare canary upgrade status list console rollback resume watch image report history log unlock version help" -- "$cur")
		return
	fi
	case $prev in
	--to | --kernel)
		mapfile -t COMPREPLY < <(compgen -W "latest previous $(cd /boot && compgen -G 'vmlinuz-*' | sed s/vmlinuz-//)" -- "$cur"; compgen -f -- "$cur")
		return ;;
	--sysroot)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return ;;
	show | --before | --svg | --junit)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return ;;
	--hold-before)
		mapfile -t COMPREPLY < <(compgen -W "preflight reserve spawn handshake probe precopy freeze" -- "$cur")
		return ;;
	--engine)
		mapfile -t COMPREPLY < <(compgen -W "auto beside kexec" -- "$cur")
		return ;;
	esac
	case ${COMP_WORDS[1]} in
	check) opts=" --to --engine --memory --cmdline --state-dir --all --max-blackout --allow-unknown --sysroot --json --help" ;;
	gates) opts=" --gate-limits --allow-unknown --sysroot --json --help" ;;
	record) opts=" --for --workload --json --help" ;;
	compare) opts=" --gate-limits --allow-unknown --svg --json --help" ;;
	canary) opts=" --memory --cmdline --for --kernel --cpus --load --shadow --replay --slower --junit --dry-run --gate-limits --allow-unknown --json --help" ;;
	upgrade) opts=" --to --engine --memory --cmdline --state-dir --outgoing-panic --rollback-on-failure --regression --dry-run --yes --hold-before --exec --gates --no-gates --max-blackout --gate-limits --allow-unknown --sysroot --json --help" ;;
	status) opts=" --follow --after-boot --json --help" ;;
	list) opts=" --sysroot --json --help" ;;
	console) opts=" --json --help" ;;
	rollback) opts=" --yes --no-gates --json --help" ;;
	resume) opts=" --json --help" ;;
	watch) opts=" --for --before --rollback --gate-limits --allow-unknown --json --help" ;;
	image) opts="show --json --help" ;;
	report) opts=" --json --help" ;;
	history) opts=" --sysroot --json --help" ;;
	log) opts=" --sysroot --json --help" ;;
	unlock) opts=" --json --help" ;;
	version) opts=" --json --help" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$opts" -- "$cur")
	case ${COMP_WORDS[1]} in
	record | compare) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$cur") ;;
	esac
}
complete -F _khoctl khoctl
