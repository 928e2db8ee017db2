# Completion of xensnd-session(1) for bash.

_xensnd_session() {
    local current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()

    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --control)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    *) mapfile -t COMPREPLY < <(compgen -W '--control --version --help' -- "$current") ;;
    esac
}

complete -F _xensnd_session xensnd-session
