#!/usr/bin/env bash
# A machine whose first process is systemd: this machine's own files beneath an overlay in memory, with processes, mounts,
# a network and control groups apart. Nothing of it is left when its first process ends, but for the control groups, which
# `clean` removes.
#
#     machine.sh begin DIRECTORY [PROGRAM TREE]    # PROGRAM is in /usr/local/bin, and TREE where it is here
#     machine.sh clean DIRECTORY
#
# `begin` wants to be the first process of its name spaces (unshare --pid --mount --uts --ipc --net --fork). It ends with 77,
# and says why, where this machine allows no such thing.
set -eu

what=$1 dir=$2 program=${3:-} tree=${4:-}
# Control groups of the first version have a hierarchy for systemd; those of the second one have only one.
first=$dir/first second=$dir/second

can() { "$@" || { echo "this machine does not allow it: $*"; exit 77; }; }

# Puts both hierarchies of control groups into $first and $second, as far as they are there.
mount_groups() {
    mkdir -p "$first" "$second"
    can mount --make-rprivate /
    if grep -q ':name=systemd:' /proc/self/cgroup; then can mount -t cgroup -o none,name=systemd cgroup "$first"; fi
    can mount -t cgroup2 cgroup2 "$second"
}

# The group that is the root of all groups of the machine.
group_in() {
    local path
    case $1 in
        "$first") path=$(sed -n 's/^[0-9]*:name=systemd://p' /proc/self/cgroup) ;;
        *) path=$(sed -n 's/^0:://p' /proc/self/cgroup) ;;
    esac
    echo "$1${path%/}/$(basename "$dir")"
}

clean() {
    mount_groups
    for hierarchy in "$first" "$second"; do
        group=$(group_in "$hierarchy")
        [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
    done
}

begin() {
    # Its number in the machine around: that is what this /proc tells of.
    read -r pid _ </proc/self/stat
    mount_groups
    for hierarchy in "$first" "$second"; do
        mountpoint -q "$hierarchy" || continue
        group=$(group_in "$hierarchy")
        can mkdir "$group"
        echo 0 >"$group/cgroup.procs"
    done
    echo "$pid" >"$dir/pid"
    exec unshare --cgroup bash "$0" inside "$dir" "$program" "$tree"
}

inside() {
    local root=$dir/root
    mkdir "$dir/memory" "$root"
    can mount -t tmpfs tmpfs "$dir/memory"
    mkdir "$dir/memory/upper" "$dir/memory/work"
    can mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/memory/upper,workdir=$dir/memory/work" "$root"
    can mount -t proc proc "$root/proc"
    # Settings of the kernel are those of the machine around.
    mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
    can mount -t sysfs -o ro sysfs "$root/sys"
    # Units of this machine's own stay out.
    for place in run tmp var/tmp var/log dev etc/systemd/system; do mount -t tmpfs tmpfs "$root/$place"; done
    # So does what a server of the machine around has left. This is the overlay alone.
    rm -rf "$root/var/lib/sealed-shuffle" "$root/etc/sealed-shuffle" "$root/etc/default/sealed-shuffle"
    cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$root/dev/"
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
    if mountpoint -q "$first"; then
        mkdir "$root/sys/fs/cgroup/systemd" "$root/sys/fs/cgroup/unified"
        can mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd"
        can mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
        # No controllers: those of the first version would be those of the machine around.
        touch "$dir/memory/none"
        mount --bind "$dir/memory/none" "$root/proc/cgroups"
    else
        can mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    fi
    can ip link set lo up
    hostname sealed-shuffle
    if [ -n "$program" ]; then
        mkdir -p "$root/usr/local/bin" "$root$tree"
        touch "$root/usr/local/bin/sealed-shuffle"
        mount --bind "$program" "$root/usr/local/bin/sealed-shuffle"
        mount --bind -o ro "$tree" "$root$tree"
    fi
    mkdir -p "$root/around"
    cd "$root"
    can pivot_root . around
    umount -l /around
    exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=basic.target --show-status=0 --log-target=journal
}

"$what"
