#!/bin/sh
# Leaves a bare system: no service of libvirt on, no key and no id baked in.
set -eu
root=$1

# Units of libvirt and QEMU are the role's to enable.
for unit in "$root"/lib/systemd/system/libvirtd* "$root"/lib/systemd/system/virtl* \
    "$root"/lib/systemd/system/libvirt-guests.service "$root"/lib/systemd/system/nftables.service; do
    systemctl --root="$root" --quiet disable "$(basename "$unit")" || true
done
rm -f "$root"/etc/libvirt/qemu/networks/autostart/default.xml "$root"/etc/ssh/ssh_host_*
# Maintenance of a long-lived machine that a lab does not need.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer dpkg-db-backup.timer getty@tty1.service; do
    systemctl --root="$root" --quiet disable "$unit" || true
done
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname"
