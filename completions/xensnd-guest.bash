# Completion of xensnd-guest(1) for bash.

_xensnd_guest() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' index words=''
    COMPREPLY=()

    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
        play | record | serve)
            command=${COMP_WORDS[index]}
            break
            ;;
        esac
    done

    case $previous in
    --transport) words='xen: local:' ;;
    --format) words='s16_le s24_le s32_le float_le u8' ;;
    --rate) words='44100 48000 96000' ;;
    --channels) words='1 2' ;;
    --domain | --server | --latency | --volume | --seconds) return ;;
    *)
        case $command:$current in
        :-*) words='--transport --domain --version --help' ;;
        :*) words='play record serve' ;;
        play:-*) words='--format --rate --channels --volume --help' ;;
        record:-*) words='--seconds --format --rate --channels --help' ;;
        serve:*) words='--server --latency --help' ;;
        *)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _xensnd_guest xensnd-guest
