#!/bin/sh
# A machine of its own for somebody new: sh tutorial_box.sh FOLDER, as root in namespaces of its own (mount, pid).
#
# Its users, homes, crontabs and processes go with the namespaces; the machine's are neither seen nor touched. There is
# a new user `you` with a copy of the checkout, FOLDER/checkout, in ~/taskrunner, and a running Debian cron. Once all is
# there, FOLDER/ready is made; everything goes on until standard input ends.
set -eu

folder=$1
mount -t tmpfs tmpfs /home
mount -t tmpfs -o mode=1730,gid=crontab tmpfs /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab

# useradd writes to /etc, here to a layer above it; the zone is that of a new Debian.
mkdir "$folder/etc"
mount -t tmpfs tmpfs "$folder/etc"
mkdir "$folder/etc/upper" "$folder/etc/work"
mount -t overlay -o "lowerdir=/etc,upperdir=$folder/etc/upper,workdir=$folder/etc/work" overlay /etc
ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
echo Etc/UTC >/etc/timezone
useradd --create-home --shell /bin/bash you
cp -r "$folder/checkout" /home/you/taskrunner
chown -R you: /home/you/taskrunner

/usr/sbin/cron -f </dev/null &
: >"$folder/ready"
read -r _ || : # until the test closes it
