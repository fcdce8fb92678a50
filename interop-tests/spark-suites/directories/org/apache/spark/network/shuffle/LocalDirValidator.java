package org.apache.spark.network.shuffle;

import java.util.HashMap;
import java.util.Map;
import org.apache.spark.network.shuffle.protocol.ExecutorShuffleInfo;
import org.apache.spark.network.shuffle.protocol.RegisterExecutor;
import org.apache.spark.network.util.MapConfigProvider;
import org.apache.spark.network.util.TransportConf;
import suites.Service;
import suites.Wire;

/**
 * Stands before Spark's class of this name on the class path: directories are judged by a service that has the same
 * roots, when an executor is registered with them.
 */
class LocalDirValidator {
  private final Map<String, String> conf = new HashMap<>();

  LocalDirValidator(String[] allowedLocalDirs, boolean requireAppScopedLocalDirs) {
    conf.put("spark.local.dir", String.join(",", allowedLocalDirs));
    if (requireAppScopedLocalDirs) {
      conf.put("spark.shuffle.service.requireAppScopedLocalDirs", "true");
    }
  }

  void validate(String[] localDirs, String app) {
    TransportConf transport = new TransportConf("shuffle", MapConfigProvider.EMPTY);
    try (Service service = Service.start(conf, null); Wire wire = new Wire(transport, service)) {
      wire.ask(new RegisterExecutor(app, "1", new ExecutorShuffleInfo(localDirs, 1, "sort")));
    }
  }
}
