# Runs node.sh in name spaces of its own, and removes what the kernel does not remove with them: control groups and the
# directory. Its input is the test's pipe, which node.sh ends with. It is in a session of its own, so that an interrupt from
# the terminal leaves it to its work.
#
# Arguments: directory, name of the control groups, path of node.sh, then what node.sh takes.
dir=$1 group=$2 node=$3
shift 3
# It ends when the node has ended, and not before.
trap : TERM INT

# The control groups of version 1, each by itself.
groups() { for parent in /sys/fs/cgroup/*/; do [ -e "$parent/cgroup.procs" ] && echo "$parent$1"; done; }
remove() {
    for path in $(groups "$1"); do
        # Processes that were killed leave their groups a moment later.
        for _ in $(seq 100); do
            find "$path" -depth -type d -exec rmdir {} + 2>/dev/null
            [ -e "$path" ] || break
            sleep 0.1
        done
    done
}

# Those of a guard that was itself killed.
for left in /sys/fs/cgroup/*/sealed-shuffle-test-*; do
    left=${left##*/}
    case $left in *[0-9]) [ -e "/proc/${left##*-}" ] || remove "$left" ;; esac
done

for path in $(groups "$group"); do mkdir "$path" || exit 1; done
for part in cpus mems; do
    cpuset=/sys/fs/cgroup/cpuset
    [ -e $cpuset/cpuset.$part ] && cat $cpuset/cpuset.$part > "$cpuset/$group/cpuset.$part"
done

unshare --net --mount --uts --pid --fork --kill-child --propagation private \
    bash "$node" "$dir" "$group" "$@"
status=$?
exec < /dev/null
remove "$group"
rm -rf -- "$dir"
exit $status
