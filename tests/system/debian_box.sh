#!/bin/sh
# Installs, uses and removes a Debian package in a box of its own. Started by test_debian.py, as root:
#
#   unshare --mount --propagation private --pid --fork --kill-child sh debian_box.sh PACKAGE FOLDER
#
# The box sees the machine's files, and what it writes is in memory and goes with it. What each part of it finds comes
# into a file of FOLDER.
set -eu

if [ "$1" != inside ]; then
    package=$1 found=$2 box=$2/box
    mkdir "$box"
    mount -t tmpfs tmpfs "$box"
    mkdir "$box/upper" "$box/work" "$box/root"
    mount -t overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" overlay "$box/root"
    mount -t proc proc "$box/root/proc"
    mount --rbind /dev "$box/root/dev"
    mount -t tmpfs tmpfs "$box/root/tmp"
    mkdir "$box/root/tmp/found"
    mount --bind "$found" "$box/root/tmp/found"
    cp "$package" "$box/root/tmp/taskrunner.deb"
    cp "$0" "$box/root/tmp/box.sh"
    exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$box/root" sh /tmp/box.sh inside
fi

cd /tmp/found
rm -f /etc/cron.d/taskrunner /usr/local/bin/taskrunner
find /usr/lib /usr/share /usr/bin /etc -path '*taskrunner*' | sort >before

dpkg --install /tmp/taskrunner.deb
find /usr/lib/taskrunner -name '*.pyc' | wc -l >bytecode
cat /var/lib/dpkg/info/taskrunner.p* >scripts
taskrunner --version >version
taskrunner add hello --every 1h --now -- echo hello
taskrunner tick
taskrunner log hello >log
setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/tmp/nobody taskrunner next --cron '30 2 * * *' -n 1 >other
MANPAGER=cat man taskrunner >page 2>&1 || true
bash -c '. /usr/share/bash-completion/completions/taskrunner; complete -p taskrunner' >completion
! ls /etc/systemd/system/*.wants/taskrunner* >enabled 2>/dev/null
cat /lib/systemd/system/taskrunner.service >unit
cat /usr/share/doc/taskrunner/examples/taskrunner >example
taskrunner install cron --system
cp /etc/cron.d/taskrunner cron
# As cron does it: the sixth field is the user, and what the command prints would be mailed.
line=$(sed -n 's/^\* \* \* \* \*  root  //p' cron)
sh -c "$line" >mail 2>&1
TASKRUNNER_CLOCK= taskrunner status >status 2>&1 || true

dpkg --remove taskrunner
sh -c "$line" >>mail 2>&1 || true
sh -c "$(sed -n 's/^\* \* \* \* \*  root  //p' example)" >>mail 2>&1 || true
rm /etc/cron.d/taskrunner
find /usr/lib /usr/share /usr/bin /etc -path '*taskrunner*' | sort >after
