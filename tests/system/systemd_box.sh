#!/bin/sh
# A real systemd as process 1 of namespaces of its own, over a copy of this machine's files that is
# thrown away. Started by systemd_box.py, as root:
#
#   sh systemd_box.sh BOX FOLDER...
#
# BOX is an empty folder; each FOLDER is needed in the box, and may be on a file system of its own. Everything in it is mounted in a mount namespace of this script, so it goes
# with the script; what is left outside are the control groups, which systemd_box.py removes. Files
# and checkouts are seen at the same paths as outside, writes go to memory.
#
# The pid of systemd, as the machine sees it, comes into BOX/pid.
set -eu
box=$1
shift

if [ "${1-}" = inside ]; then
    root=$box/disk/root
    cd "$root"
    hostname box
    mount -t proc proc proc
    # A boot of its own, so that it can be told from the machine's.
    cat /proc/sys/kernel/random/uuid >"$box/disk/boot"
    mount --bind "$box/disk/boot" proc/sys/kernel/random/boot_id
    mount --rbind proc/sys proc/sys
    mount -o remount,ro,bind proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do
        : >"dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t tmpfs -o mode=1777 tmpfs dev/shm
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    if [ -z "$CONTROLLERS" ]; then
        umount sys/fs/cgroup
        mount -t cgroup2 cgroup2 sys/fs/cgroup
    fi
    for name in $CONTROLLERS; do
        mkdir "sys/fs/cgroup/$name"
        case $name in
        systemd) mount -t cgroup -o none,name=systemd cgroup "sys/fs/cgroup/$name" ;;
        unified) mount -t cgroup2 cgroup2 "sys/fs/cgroup/$name" ;;
        *) mount -t cgroup -o "$name" cgroup "sys/fs/cgroup/$name" ;;
        esac
    done
    mkdir -p mnt/outside
    pivot_root . mnt/outside
    cd /
    # The clock of the machine is not to be set from in here, nor are its modules to be loaded.
    exec chroot . sh -c 'umount -l /mnt/outside
        exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio /lib/systemd/systemd'
fi

mkdir "$box/disk"
mount -t tmpfs -o mode=755 tmpfs "$box/disk"
mkdir "$box/disk/upper" "$box/disk/work" "$box/disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$box/disk/upper,workdir=$box/disk/work" overlay "$box/disk/root"
# An overlay shows one file system: folders on others get overlays of their own.
number=0
for place in "$@"; do
    [ "$(stat -c %d "$place")" != "$(stat -c %d /)" ] || continue
    number=$((number + 1))
    mkdir -p "$box/disk/upper$number" "$box/disk/work$number" "$box/disk/root$place"
    mount -t overlay overlay "$box/disk/root$place" \
        -o "lowerdir=$place,upperdir=$box/disk/upper$number,workdir=$box/disk/work$number"
done

units=$box/disk/root/etc/systemd/system
# Only what the tests are about is to run: the rest of the machine stays switched off in here.
rm -rf "$units"/*.wants
mkdir -p "$units"
for unit in systemd-udevd.service systemd-timesyncd.service getty.target console-getty.service \
    systemd-sysctl.service systemd-modules-load.service apt-daily.timer apt-daily-upgrade.timer \
    systemd-networkd.service e2scrub_all.timer e2scrub_reap.service fstrim.timer man-db.timer \
    dpkg-db-backup.timer logrotate.timer sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount tmp.mount cron.service; do
    ln -sf /dev/null "$units/$unit"
done
# A virtual environment may lie in /tmp, which a boot would empty.
mkdir -p "$box/disk/root/etc/tmpfiles.d"
: >"$box/disk/root/etc/tmpfiles.d/tmp.conf"
: >"$box/disk/root/etc/fstab"

# The control group namespace begins where this process sits, so it first moves into groups of the box.
controllers=
: >"$box/cgroups"
for name in memory pids cpu cpuacct blkio devices freezer systemd unified ''; do
    folder=/sys/fs/cgroup/$name
    [ -e "$folder/cgroup.procs" ] && mountpoint -q "$folder" || continue
    controllers="$controllers $name"
    if [ "$name" = memory ]; then # a limit of ours, if there is one, is to hold for the box
        folder=$folder$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup)
    fi
    mkdir -p "$folder/${box##*/}"
    echo "$folder/${box##*/}" >>"$box/cgroups"
    echo $$ >"$folder/${box##*/}/cgroup.procs" || echo "stays in the group of $name" >&2
done
echo $$ >"$box/launcher"
# The disk stays while this script runs: a systemd that ends is followed by another one where BOX/again asks
# for it, which is a reboot.
while :; do
    setpriv --pdeathsig KILL \
        unshare --pid --mount --uts --ipc --cgroup --fork --kill-child --propagation private \
        env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin CONTROLLERS="$(echo $controllers)" \
        sh "$0" "$box" inside || :
    [ -e "$box/again" ] || break
    rm "$box/again"
done
