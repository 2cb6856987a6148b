#!/bin/sh
# Runs Debian's cron in a box of its own, on a clock of its own. Started by cronbox.py, as root:
#
#   unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
#       sh cronbox.sh FOLDER CLOCK
#
# FOLDER has the crontab (tab) and an empty folder dev, in which cronbox.py may listen as log.
# CLOCK is for libfaketime, such as "@2026-03-10 11:59:30 x60". What cron would have mailed comes
# into FOLDER/mail. Once cron runs, FOLDER/ready has the time of the box in seconds. Everything goes on
# until standard input ends; then cron is stopped, what it started may finish, and what does not is
# named in FOLDER/left.
#
# Mounts and processes belong to namespaces of this box: they go with it, however it ends, and the
# machine's crontabs, cron and log are neither seen nor touched.
set -eu

if [ "$1" != inside ]; then
    box=$1 clock=$2

    mount -t tmpfs -o mode=1730,gid=crontab tmpfs /var/spool/cron/crontabs
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /etc/cron.d
    [ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab

    # A sendmail that keeps what it is given; cron looks for it at this very path.
    mkdir "$box/sbin"
    printf '#!/bin/sh\nexec cat >>%s\n' "$box/mail" >"$box/sbin/sendmail"
    chmod 755 "$box/sbin/sendmail"
    mount -t overlay -o "lowerdir=$box/sbin:/usr/sbin" overlay /usr/sbin

    # A /dev with a log of our own; the rest of it is the machine's.
    for name in null zero full random urandom tty; do
        : >"$box/dev/$name"
        mount --bind "/dev/$name" "$box/dev/$name"
    done
    mkdir "$box/dev/pts" "$box/dev/shm"
    mount --bind /dev/pts "$box/dev/pts"
    # faketime names its clock there by its pid, and the pids of all boxes are alike.
    mount -t tmpfs tmpfs "$box/dev/shm"
    ln -s /proc/self/fd "$box/dev/fd"
    mount --rbind "$box/dev" /dev

    # faketime makes the shared clock and names it in FAKETIME_SHARED; it stays while `inside` runs.
    exec 3<&0
    faketime -f "$clock" sh "$0" inside "$box" 3<&3
    exit
fi

box=$2

# The tools of this script run on the real clock. So does `crontab`: cron is told of a new crontab
# by its file's time, and the file system has the real one.
really() { env -u LD_PRELOAD "$@"; }

{
    # cron gives its children an environment made from nothing and these lines.
    echo "LD_PRELOAD=$LD_PRELOAD"
    echo "FAKETIME=$FAKETIME"
    echo "FAKETIME_SHARED=$FAKETIME_SHARED"
    echo "FAKETIME_DONT_RESET=1"
    cat "$box/tab"
} >"$box/crontab"
really crontab "$box/crontab"

export FAKETIME_DONT_RESET=1
/usr/sbin/cron -f -L 15 </dev/null 3<&- &
cron=$!
date +%s.%N >"$box/ready.new"
mv "$box/ready.new" "$box/ready"

read -r _ <&3 || : # until cronbox.py closes it

kill "$cron"
wait "$cron" || :

# In this process namespace there is nothing but the box: shells 1 and $$, faketime, and the rest.
others() {
    left=
    for process in /proc/[0-9]*; do
        case ${process#/proc/} in
        1 | "$$" | "$PPID") ;;
        *) [ ! -s "$process/cmdline" ] || left="$left ${process#/proc/}" ;;
        esac
    done 2>/dev/null
    [ -n "$left" ]
}

patience=300 # tenths of a real second
while others && [ "$patience" -gt 0 ]; do
    really sleep 0.1
    patience=$((patience - 1))
done
for pid in $left; do
    { tr '\0' ' ' <"/proc/$pid/cmdline" && echo; } >>"$box/left" 2>/dev/null || :
done
