# Completion of xensnd-pacat(8) for bash.

_xensnd_pacat() {
    local current=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()

    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --control | --pidfile)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    *) mapfile -t COMPREPLY < <(compgen -W '--control --pidfile --version --help' -- "$current") ;;
    esac
}

complete -F _xensnd_pacat xensnd-pacat
