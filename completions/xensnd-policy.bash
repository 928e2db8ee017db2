# Completion of xensnd-policy(1) for bash.

_xensnd_policy() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' index is_control words='' control=() tool=${COMP_WORDS[0]}
    local edits='allow-capture deny-capture ask-capture allow-playback deny-playback ask-playback'
    local commands="$edits list check explain diff status mute unmute volume release log prompt schema"
    COMPREPLY=()

    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${COMP_WORDS[index]} in
        --control | --policy | --runtime | --tags | --identities)
            [[ ${COMP_WORDS[index]} == --control ]] && is_control=1 || is_control=
            ((index++))
            [[ ${COMP_WORDS[index]} == = ]] && ((index++)) # --control=PATH is three words
            [[ $is_control ]] && control=(--control "${COMP_WORDS[index]-}")
            ;;
        -*) ;;
        *)
            command=${COMP_WORDS[index]}
            break
            ;;
        esac
    done

    case $previous in
    --policy | --runtime | --directory)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --tags | --identities | --control | --file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --direction) words='capture playback' ;;
    --for) words='10m 30m 1h 2h 8h' ;;
    --class) words='AppVM DispVM RemoteVM StandaloneVM TemplateVM' ;;
    --until | --since | --uuid | --label | --tag | --template | --dispvm-of) return ;;
    *)
        case $command:$current in
        :-*) words='--policy --runtime --tags --identities --control --version --help' ;;
        :*) words=$commands ;;
        allow-*:-* | deny-*:-* | ask-*:-*) words='--for --until --once --help' ;;
        explain:-*) words='--direction --uuid --label --tag --class --template --dispvm-of --help' ;;
        diff:-*) words='--guest --help' ;;
        mute:-* | unmute:-* | volume:-*) words='--direction --help' ;;
        release:-*) words='--help' ;;
        status:*) words='--watch --json --help' ;;
        log:-*) words='--follow --since --guest --json --verify --file --directory --help' ;;
        prompt:*)
            if ((COMP_CWORD - index == 2)); then
                words='once for always no never'
            else
                words='--list --help'
            fi
            ;;
        esac
        case $command:$previous in
        diff:diff)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$current")
            return
            ;;
        esac
        ;;
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
    fi

    case $command:$previous in
    log:--guest | diff:--guest | "$command:$command") ;;
    *) return ;;
    esac
    case $command in
    allow-* | deny-* | ask-* | explain | diff | mute | unmute | volume | release | log)
        # Not compgen -W: a guest's name is data, which that would expand.
        local name
        while IFS= read -r name; do
            [[ $name == "$current"* ]] && COMPREPLY+=("$(printf %q "$name")")
        done < <("$tool" "${control[@]}" status --names 2>/dev/null)
        ;;
    esac
}

complete -F _xensnd_policy xensnd-policy
