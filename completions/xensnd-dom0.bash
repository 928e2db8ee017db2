# Completion of xensnd-dom0(8) for bash.

_xensnd_dom0() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=''
    COMPREPLY=()

    case $previous in
    --policy | --runtime)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
        ;;
    --control)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --audit)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -W journal -f -- "$current")
        return
        ;;
    --control-group)
        mapfile -t COMPREPLY < <(compgen -g -- "$current")
        return
        ;;
    --transport) words='xen: local:' ;;
    --isolation) words='guest all' ;;
    --qubesdb | --identities)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -W none -f -- "$current")
        return
        ;;
    --server | --latency | --ask-seconds) return ;;
    *)
        words='--transport --policy --runtime --server --audit --latency --control --control-group
            --ask-seconds --isolation --identities --qubesdb --vchan --version --help'
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _xensnd_dom0 xensnd-dom0
