import io.fabric8.kubernetes.api.model.EnvVar;
import io.fabric8.kubernetes.api.model.PodBuilder;
import io.fabric8.kubernetes.client.ConfigBuilder;
import io.fabric8.kubernetes.client.KubernetesClient;
import io.fabric8.kubernetes.client.KubernetesClientBuilder;
import io.fabric8.kubernetes.client.utils.Serialization;
import java.io.FileReader;
import java.util.Properties;
import org.apache.spark.SecurityManager;
import org.apache.spark.SparkConf;
import org.apache.spark.deploy.k8s.KubernetesConf;
import org.apache.spark.deploy.k8s.SparkPod;
import org.apache.spark.deploy.k8s.submit.KubernetesDriverBuilder;
import org.apache.spark.deploy.k8s.submit.PythonMainAppResource;
import org.apache.spark.internal.config.package$;
import org.apache.spark.resource.ResourceProfile$;
import org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBuilder;
import scala.Option;

/**
 * Prints the pods that Spark's own builders make of a file of properties: a line of JSON for the driver, and one for an executor.
 *
 * <p>Arguments: the file; path of a file that stands for the one of spark.authenticate.secret.file. Paths of templates in the file are
 * relative to the working directory.
 */
public final class Pods {
    private static final String SECRET_FILE = "spark.authenticate.secret.file";

    private Pods() {}

    public static void main(String[] arguments) throws Exception {
        SparkConf conf = new SparkConf(false);
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(arguments[0])) {
            properties.load(reader);
        }
        for (String name : properties.stringPropertyNames()) {
            conf.set(name, properties.getProperty(name).trim());
        }
        conf.set("spark.master", "k8s://https://127.0.0.1:1").set("spark.app.name", "golden").set("spark.app.id", "spark-golden");
        conf.set("spark.kubernetes.container.image", "spark:golden").set("spark.kubernetes.executor.podNamePrefix", "golden");
        // Nobody is asked: templates are files here.
        var nowhere = new ConfigBuilder().withMasterUrl("https://127.0.0.1:1").build();
        try (KubernetesClient client = new KubernetesClientBuilder().withConfig(nowhere).build()) {
            SparkConf submitted = conf.clone().set("spark.submit.deployMode", "cluster");
            var driver = KubernetesConf.createDriverConf(
                    submitted, "spark-golden", new PythonMainAppResource("local:///opt/application/golden.py"),
                    "org.apache.spark.deploy.PythonRunner", new String[0], Option.empty());
            print(new KubernetesDriverBuilder().buildFromFeatures(driver, client).pod(), null);

            // As the driver sets them before it asks for executors.
            conf.set("spark.driver.host", "driver.golden").set("spark.driver.port", "7078");
            if (conf.contains(SECRET_FILE)) {
                conf.set(SECRET_FILE, arguments[1]);
            }
            SecurityManager security = new SecurityManager(conf, Option.empty(), package$.MODULE$.AUTH_SECRET_FILE());
            security.initializeAuth();
            var executor = KubernetesConf.createExecutorConf(conf, "1", "spark-golden", Option.empty(), 0);
            var profile = ResourceProfile$.MODULE$.getOrCreateDefaultProfile(conf);
            var built = new KubernetesExecutorBuilder().buildFromFeatures(executor, security, client, profile);
            print(built.pod(), security.getSecretKey());
        }
    }

    private static void print(SparkPod pod, String secret) {
        for (EnvVar variable : pod.container().getEnv()) {
            if (secret != null && secret.equals(variable.getValue())) {
                variable.setValue("the secret that Spark made");
            }
        }
        var whole = new PodBuilder(pod.pod()).editOrNewSpec().addToContainers(pod.container()).endSpec().build();
        System.out.println("POD " + Serialization.asJson(whole).replace("\n", " "));
    }
}
