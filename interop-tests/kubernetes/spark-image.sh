# Fills a directory with an image for drivers and executors, from what is on this machine: Spark, Java, Python, and programs of
# busybox.
#
# Arguments: the directory, SPARK_HOME, root of PySpark, JAVA_HOME, busybox, directory of the applications.
set -e
root=$1 spark=$2 pyspark=$3 java=$4 busybox=$5 applications=$6

copied() { # FROM TO, without symbolic links, and without what is missing
    mkdir -p "$2"
    (cd "$1" && tar --ignore-failed-read -chf - --exclude=__pycache__ --exclude='./man' --exclude='./jmods' \
        --exclude='./demo' --exclude='./include' --exclude='./docs' --exclude='src.zip' --exclude='*.jsa' \
        --exclude='./test' --exclude='./site-packages' --exclude='./idlelib' --exclude='./config-*' . 2>/dev/null) |
        tar -xf - -C "$2"
}

mkdir -p "$root/bin" "$root/usr/bin" "$root/etc" "$root/opt/spark/python/lib" "$root/opt/spark/work-dir"
cp "$busybox" "$root/bin/busybox"
for name in $("$busybox" --list); do [ -e "$root/bin/$name" ] || ln -s busybox "$root/bin/$name"; done
ln -s ../../bin/busybox "$root/usr/bin/env"
cp "$(command -v bash)" "$root/usr/bin/bash"
ln -sf ../usr/bin/bash "$root/bin/bash"
printf 'root:x:0:0::/:/bin/sh\nspark:x:185:0::/tmp:/bin/sh\nother:x:999:1000::/tmp:/bin/sh\n' > "$root/etc/passwd"
printf 'root:x:0:\n' > "$root/etc/group"
mkdir "$root/tmp"

copied "$java" "$root/opt/java"
copied "$spark/jars" "$root/opt/spark/jars"
copied "$spark/bin" "$root/opt/spark/bin"
cp -r "$pyspark/pyspark" "$root/opt/spark/python/pyspark"
cp "$pyspark"/lib/py4j-*.zip "$root/opt/spark/python/lib/py4j.zip"
copied "$applications" "$root/opt/application"
install -m 0755 "$(dirname "$0")/entrypoint.sh" "$root/opt/entrypoint.sh"

# Python, with its library below a place of its own (PYTHONHOME).
python=$(python3 -c 'import sys; print(sys.executable)')
mkdir -p "$root/opt/python/bin"
cp -L "$python" "$root/opt/python/bin/python3"
ln -s /opt/python/bin/python3 "$root/usr/bin/python3"
copied "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    "$root/opt/python/lib/$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"

# Libraries lie where this machine has them. JNI libraries in jars of Spark want a few more than ldd tells.
{
    find "$root/opt/java" "$root/opt/python" "$root/usr/bin" -type f \( -name '*.so*' -o -perm -u+x \) -exec ldd {} + 2>/dev/null |
        sed -n -E 's,^.*(=>)?[[:space:]](/[^ ]+) \(.*$,\2,p'
    for name in libpthread.so.0 libdl.so.2 librt.so.1 libstdc++.so.6 libgcc_s.so.1 libnss_files.so.2; do
        ldconfig -p | sed -n -E "s,^[[:space:]]*$name .*=> (/.*)$,\\1,p" | head -n 1
    done
} | sort -u | while read -r library; do
    case $library in "$root"/*) ;; *) install -D -m 0755 "$library" "$root$library" ;; esac
done
chmod -R a+rX "$root"
chmod 1777 "$root/tmp" "$root/opt/spark/work-dir"
