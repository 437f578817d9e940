# bash completion for belay(1)

# Words of a list, or files, for what is being typed.
_belay_words()
{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

_belay_files()
{
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
}

_belay_json()
{
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -d -- "${COMP_WORDS[COMP_CWORD]}"
        compgen -f -X '!*.json' -- "${COMP_WORDS[COMP_CWORD]}")
}

_belay_batch()
{
    case $1 in
    -o | --output | --ca-file | --report | --api-key-file) _belay_files ;;
    --prices) _belay_json ;;
    --errors)
        _belay_files
        [[ inline == "${COMP_WORDS[COMP_CWORD]}"* ]] && COMPREPLY+=(inline)
        ;;
    --api-key-env) _belay_words "$(compgen -e)" ;;
    --reserve) _belay_words 'strict expected' ;;
    --in-doubt) _belay_words 'retry skip fail' ;;
    --sync) _belay_words 'interval line never' ;;
    --order) _belay_words 'completion input' ;;
    --input-format) _belay_words 'batch body' ;;
    --progress) _belay_words 'auto bar lines json none' ;;
    --base-url | --model | --sim-latency | --sim-faults | -c | --concurrency \
        | --start | --rpm | --tpm | --patience | --budget \
        | --max-output-tokens | --max-retries | --timeout | --drain-timeout \
        | --expire | --window | --max-line | --max-reply \
        | --seed) ;;
    *)
        if [[ ${COMP_WORDS[COMP_CWORD]} == -* ]]; then
            _belay_words '-o --output --errors --overwrite --force
                --retry-failed --in-doubt --base-url --api-key-env
                --api-key-file --model
                --sim --sim-latency --sim-faults --allow-http --insecure
                --ca-file --no-proxy -c --concurrency --start --rpm --tpm
                --patience --budget --prices --reserve --max-output-tokens
                --max-retries --timeout --drain-timeout --expire --emit-skipped
                --order --window --sync --max-line --max-reply --input-format
                --strict --check-hosted --dry-run --status --report
                --no-id-check --seed --progress -q --quiet -h --help'
        else
            _belay_files
        fi
        ;;
    esac
}

_belay_chat()
{
    case $1 in
    --prices) _belay_json ;;
    --session | --record | --ca-file | --api-key-file) _belay_files ;;
    --api-key-env) _belay_words "$(compgen -e)" ;;
    --format) _belay_words 'chat responses messages' ;;
    -m | --model | -s | --system | --max-tokens | --temperature | --timeout \
        | --base-url | --budget) ;;
    *)
        _belay_words '-m --model -s --system --stream -i --interactive --session --record
            --max-tokens --temperature --timeout --raw --format --base-url
            --api-key-env --api-key-file --sim --prices --budget --allow-http --insecure
            --ca-file --no-proxy -h --help'
        ;;
    esac
}

_belay_doctor()
{
    case $1 in
    --api-key-env) _belay_words "$(compgen -e)" ;;
    --ca-file) _belay_files ;;
    --prices) _belay_json ;;
    --base-url | --timeout) ;;
    *)
        _belay_words '--base-url --api-key-env --messages --timeout
            --allow-http --insecure --ca-file --prices --json -h --help'
        ;;
    esac
}

_belay_log()
{
    case $1 in
    -n | --last | --session | --show) ;;
    --forget | --forget-texts) _belay_words '30d 90d 365d' ;;
    *)
        if [[ ${COMP_WORDS[COMP_CWORD]} == -* ]]; then
            _belay_words '-n --last --session --show --cost --json --forget
                --forget-texts -h --help'
        else
            _belay_files
        fi
        ;;
    esac
}

_belay_sim()
{
    case $1 in
    --api-key-env) _belay_words "$(compgen -e)" ;;
    --spread) _belay_words 'fixed uniform lognormal' ;;
    --retry-after-form) _belay_words 'seconds ms date rfc850 asctime past zero negative garbage mixed' ;;
    --script) _belay_files ;;
    --host | --port | --seed | --tokens | --latency | --ttft \
        | --tokens-per-second | --fail-429 | --retry-after | --fail-5xx \
        | --cut | --stall | --capacity | --max-requests | --fault \
        | --tool-calls | --cached | --reasoning) ;;
    *)
        _belay_words '--host --port --seed --api-key-env --tokens --latency
            --spread --ttft --tokens-per-second --tool-calls --cached
            --reasoning --script --fail-429 --retry-after --retry-after-form
            --fail-5xx --cut --stall --capacity --fault --max-requests --log
            --quiet --help'
        ;;
    esac
}

_belay_gpu_demo()
{
    case $1 in
    --timeline | --trace) _belay_files ;;
    --backend) _belay_words 'auto cuda opencl sim' ;;
    --progress) _belay_words 'auto view lines none' ;;
    --tasks | --devices | --slots | --cancel | --fail | --seed) ;;
    *)
        _belay_words '--backend --tasks --devices --slots --cancel --fail
            --seed --timeline --trace --once --progress -h --help'
        ;;
    esac
}

_belay_gpu_list()
{
    case $1 in
    *)
        _belay_words '--json -h --help'
        ;;
    esac
}

_belay_gpu()
{
    if ((COMP_CWORD == 2)); then
        _belay_words 'demo list --help'
        return
    fi
    case ${COMP_WORDS[2]} in
    demo) _belay_gpu_demo "$1" ;;
    list) _belay_gpu_list "$1" ;;
    esac
}

_belay()
{
    local previous=${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _belay_words 'batch chat doctor gpu log sim --help --version'
        return
    fi
    case ${COMP_WORDS[1]} in
    batch) _belay_batch "$previous" ;;
    chat) _belay_chat "$previous" ;;
    gpu) _belay_gpu "$previous" ;;
    doctor) _belay_doctor "$previous" ;;
    log) _belay_log "$previous" ;;
    sim) _belay_sim "$previous" ;;
    esac
}

complete -F _belay belay
