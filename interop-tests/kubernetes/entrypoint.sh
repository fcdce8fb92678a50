#!/usr/bin/bash
# What Spark expects of an image (KubernetesConf, BasicExecutorFeatureStep, DriverCommandFeatureStep, Spark 4.3.0): the first
# argument says which of the two it is, the environment says the rest.
set -e
role=$1
shift
case $role in
    driver)
        exec /opt/spark/bin/spark-submit --deploy-mode client \
            --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS" \
            --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS" "$@"
        ;;
    executor)
        options=()
        for ((i = 0; ; i++)); do
            name=SPARK_JAVA_OPT_$i
            [ -n "${!name+set}" ] || break
            options+=("${!name}")
        done
        exec /opt/java/bin/java "${options[@]}" "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
            -cp "/opt/spark/conf:/opt/spark/jars/*" \
            org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
            --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES" \
            --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP" \
            --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME"
        ;;
    *) exec "$role" "$@" ;;
esac
