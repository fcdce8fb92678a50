package org.apache.spark.network.ssl;

import java.util.HashMap;
import java.util.Map;
import org.apache.spark.network.util.ConfigProvider;
import org.apache.spark.network.util.MapConfigProvider;

/**
 * Stands before the suites' own class of this name: TLS from the key stores that lie in their jar. The original names
 * PEM files beside them, which come first, and which ours does not take: their certificate is of X.509 version 1, and
 * their key encrypted with DES.
 */
public final class SslSampleConfigs {
  private SslSampleConfigs() {}

  public static ConfigProvider createDefaultConfigProviderForRpcNamespace() {
    return createDefaultConfigProviderForRpcNamespaceWithAdditionalEntries(Map.of());
  }

  public static ConfigProvider createDefaultConfigProviderForRpcNamespaceWithAdditionalEntries(
      Map<String, String> entries) {
    Map<String, String> conf = new HashMap<>();
    conf.put("spark.ssl.rpc.enabled", "true");
    conf.put("spark.ssl.rpc.keyStore", file("/keystore"));
    conf.put("spark.ssl.rpc.keyStorePassword", "password");
    conf.put("spark.ssl.rpc.keyPassword", "password");
    conf.put("spark.ssl.rpc.trustStore", file("/truststore"));
    conf.put("spark.ssl.rpc.trustStorePassword", "password");
    conf.putAll(entries);
    return new MapConfigProvider(conf);
  }

  private static String file(String resource) {
    return SslSampleConfigs.class.getResource(resource).getPath();
  }
}
