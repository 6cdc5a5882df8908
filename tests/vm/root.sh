# shellcheck shell=bash disable=SC2034
# What a guest's small Debian is made of, whatever its processor. Sourced by build-root and build-arm64, not run.

# What a Raspberry Pi OS Lite has too, and v4l2-ctl to work the camera's driver with.
packages=systemd-sysv,udev,dbus,iproute2,procps,sudo,ca-certificates,v4l-utils,curl,strace

# finish_root FOLDER: the settings of a guest that lives for a minute.
finish_root() {
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
    rm -f "$1/etc/resolv.conf"
    echo guest >"$1/etc/hostname"
    echo '127.0.0.1 localhost guest' >"$1/etc/hosts"
    echo uninitialized >"$1/etc/machine-id"
    : >"$1/etc/fstab"
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty@tty1.service \
        serial-getty@tty0.service serial-getty@ttyAMA0.service console-getty.service systemd-pstore.service systemd-firstboot.service \
        systemd-update-utmp.service systemd-timesyncd.service; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
}
